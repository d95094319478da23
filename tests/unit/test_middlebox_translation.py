"""Numbers of a connection whose data was changed: each end goes on counting its own bytes.

Whole conversations, with loss and reordering, are in tests/property/test_translation_two_ends.py.
"""

from __future__ import annotations

from itertools import pairwise
from struct import pack

import pytest
from hypothesis import given, strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.packet import Packet as ScapyPacket

from middlebox import packet as wire
from middlebox.flow import Direction
from middlebox.packet import Packet, decode
from middlebox.seqnum import distance
from middlebox.translation import EDITS_REMEMBERED, SETTLED_BYTES, Edits, Translation
from tests.unit.talk import rule

TO_SERVER, TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
RULE = rule("tcp", name="change")
V4 = IP(src="192.0.2.11", dst="203.0.113.25", options=[])
V6 = IPv6(src="2001:db8:1::11", dst="2001:db8:3::25")
V6_LONG = V6 / IPv6ExtHdrDestOpt()


def edits(start: int, old: bytes, new: bytes) -> Edits:
    made = Edits()
    made.note(start, old, new, RULE)
    return made


def packet(ip: ScapyPacket = V4, payload: bytes = b"", **tcp: object) -> Packet:
    fields = {"sport": 40000, "dport": 587, "flags": "PA", "seq": 1000, "ack": 5000} | tcp
    p = decode(bytes(ip / TCP(**fields) / payload))
    assert p is not None
    return p


@pytest.mark.parametrize(
    ("new", "moved"), [(b"XXXXXXXX", 0), (b"NO", -6), (b"", -8), (b"STARTTLS-PLEASE", 7)]
)
def test_numbers_behind_a_change_move_by_what_was_added(new: bytes, moved: int) -> None:
    """Before it nothing moves, behind it everything does, and an acknowledgment moves back."""
    changed = edits(1000, b"STARTTLS", new)
    assert changed.forward(1000) == 1000
    assert changed.forward(1008) == 1008 + moved
    assert changed.backward(1008 + moved) == 1008
    assert changed.backward(1020 + moved) == 1020
    assert changed.backward(990) == 990


def test_numbers_wrap() -> None:
    """The change lies across the end of the sequence space."""
    changed = edits(0xFFFFFFFC, b"STARTTLS", b"NO")
    assert changed.forward(4) == 0xFFFFFFFE
    assert changed.backward(0xFFFFFFFE) == 4
    assert changed.backward(10) == 16


def test_acknowledgment_of_a_part_of_what_was_changed_acknowledges_none_of_it() -> None:
    """The sender must not forget bytes of which the receiver lacks a part."""
    changed = edits(1000, b"abc", b"0123456789")
    assert changed.backward(1004) == 1000
    assert changed.backward(1009) == 1000
    assert changed.backward(1010) == 1003


def test_only_what_differs_counts_as_changed() -> None:
    """A list of which one line goes: what stands before and behind keeps its own numbers."""
    changed = edits(1000, b"250-SIZE\r\n250-STARTTLS\r\n250 HELP\r\n", b"250-SIZE\r\n250 HELP\r\n")
    assert changed.backward(1010) == 1010
    assert changed.carry(1000, b"250-SIZE\r\n") == (1000, b"250-SIZE\r\n", ())


@pytest.mark.parametrize(
    ("seq", "payload", "carried"),
    [
        (1000, b"STARTTLS", (1000, b"NO")),
        (996, b"....STARTTLS....", (996, b"....NO....")),
        (1002, b"ARTTLS..", (1000, b"NO..")),
        (998, b"..STAR", (998, b"..NO")),
        (1003, b"RT", (1000, b"NO")),
        (990, b"before", (990, b"before")),
        (1008, b"behind", (1002, b"behind")),
    ],
)
def test_changed_bytes_sent_again_are_changed_again_however_they_are_cut(
    seq: int, payload: bytes, carried: tuple[int, bytes]
) -> None:
    """Who has a part of what was changed gets all that stands for it."""
    assert edits(1000, b"STARTTLS", b"NO").carry(seq, payload)[:2] == carried


def test_two_changes_in_one_segment_are_both_carried() -> None:
    """Segments that were sent one by one may come again as one."""
    changed = edits(1000, b"aaaa", b"A")
    changed.note(1010, b"bbbb", b"BBBBBB", RULE)
    assert changed.carry(1000, b"aaaa......bbbb..") == (1000, b"A......BBBBBB..", (RULE, RULE))
    assert changed.forward(1014) == 1013


def test_many_changes_are_joined_and_later_numbers_stay_right() -> None:
    """Memory is bounded, the sum is not forgotten."""
    changed = Edits()
    for number in range(EDITS_REMEMBERED * 3):
        changed.note(1000 + 100 * number, b"abcd", b"x", RULE)
    behind = 1000 + 100 * EDITS_REMEMBERED * 3
    assert changed.forward(behind) == behind - 3 * EDITS_REMEMBERED * 3
    assert changed.backward(changed.forward(behind)) == behind


def test_change_long_ago_still_counts_when_numbers_come_round() -> None:
    """Gigabytes later the sequence number of the change lies ahead again: what it added stays added."""
    changed = edits(1000, b"abcd", b"x")
    seq = 1000
    for _ in range(12):
        seq = (seq + SETTLED_BYTES // 2) & 0xFFFFFFFF
        assert distance(seq, changed.forward(seq)) == -3


@given(
    start=st.integers(0, 0xFFFFFFFF),
    pieces=st.lists(
        st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=9)), min_size=1, max_size=6
    ),
    gap=st.integers(1, 9),
)
def test_backward_undoes_forward_behind_every_change(
    start: int, pieces: list[tuple[bytes, bytes]], gap: int
) -> None:
    """Whatever was changed: behind it both counts are one to one, and no number runs backwards."""
    changed, seq, borders = Edits(), start, []
    for old, new in pieces:
        if old != new:
            changed.note(seq, old, new, RULE)
        borders.append((seq + len(old)) & 0xFFFFFFFF)
        seq = (seq + len(old) + gap) & 0xFFFFFFFF
    moved = [changed.forward(border) for border in borders]
    assert [changed.backward(number) for number in moved] == borders
    assert all(distance(a, b) > 0 for a, b in pairwise(moved))


@pytest.mark.parametrize(
    "ip", [V4, IP(src="192.0.2.11", dst="203.0.113.25", options=b"\x01\x01\x01\x00"), V6, V6_LONG]
)
def test_changed_packet_is_whole_and_right(ip: ScapyPacket) -> None:
    """Lengths and checksums as scapy computes them; IP options, extension headers and TCP options stay."""
    p = packet(ip, b"STARTTLS\r\n", options=[("Timestamp", (7, 9))], urgptr=3, window=77)
    translation = Translation()
    translation.edits[TO_SERVER].note(1000, b"STARTTLS\r\n", b"NOOP\r\n", RULE)
    translation.edits[TO_CLIENT].note(4900, b"a", b"abcdef", RULE)
    carried = translation.apply(p, TO_SERVER)
    assert carried is not None
    layer = type(ip)
    seen, expected = layer(carried.data), layer(bytes(ip / TCP(bytes(layer(p.data)[TCP]))))
    expected[TCP].remove_payload()
    expected = layer(bytes(expected / b"NOOP\r\n"))
    expected[TCP].ack = 4995
    for one in [expected, expected[TCP]]:
        for name in ("chksum", "len", "plen"):
            if name in one.fields:
                delattr(one, name)
    assert bytes(seen) == bytes(layer(bytes(expected)))
    assert carried.rules == (RULE,)


def test_packet_of_which_nothing_moves_is_left_alone() -> None:
    """Nothing is copied before the first change."""
    translation = Translation()
    assert translation.apply(packet(payload=b"x"), TO_SERVER) is None
    translation.edits[TO_CLIENT].note(5000, b"a", b"ab", RULE)
    assert translation.apply(packet(payload=b"x"), TO_SERVER) is None


def test_sack_blocks_are_moved_like_acknowledgments() -> None:
    """Their left edges round up and their right edges down, so that nothing is promised that is not there."""
    translation = Translation()
    translation.edits[TO_SERVER].note(1000, b"abc", b"0123456789", RULE)
    blocks = pack("!4I", 1010, 1020, 1004, 1030)
    options = [("NOP", None), ("NOP", None), ("SAck", (1010, 1020, 1004, 1030))]
    answer = packet(sport=587, dport=40000, ack=1000, seq=5000, options=options)
    assert blocks in answer.data
    carried = translation.apply(answer, TO_CLIENT)
    assert carried is not None
    p = decode(carried.data)
    assert p is not None
    ((_, value),) = [option for option in wire.tcp_options(p) if option[0] == 5]
    assert value == pack("!4I", 1003, 1013, 1003, 1023)


def test_flags_and_a_stripped_payload_make_a_reset_of_a_data_packet() -> None:
    """What the TSPU does: the server's packet goes on as RST+ACK, without its payload."""
    translation = Translation()
    translation.edits[TO_CLIENT].note(1000, b"secret", b"", RULE)
    carried = translation.apply(packet(payload=b"secret"), TO_CLIENT, flags=wire.RST | wire.ACK)
    assert carried is not None
    p = decode(carried.data)
    assert p is not None
    assert (p.flags, p.payload, p.seq, wire.checksum_is_right(p)) == (wire.RST | wire.ACK, b"", 1000, True)


def test_syn_with_data_keeps_its_own_number() -> None:
    """The first byte of data comes one behind the SYN."""
    translation = Translation()
    translation.edits[TO_SERVER].note(1001, b"abc", b"abcdef", RULE)
    carried = translation.apply(packet(payload=b"abc", flags="S", ack=0), TO_SERVER)
    assert carried is not None
    p = decode(carried.data)
    assert p is not None
    assert (p.seq, p.payload) == (1000, b"abcdef")


def test_what_is_no_segment_is_left_alone() -> None:
    """Datagrams and later fragments have no numbers."""
    translation = Translation()
    datagram, fragment = packet(payload=b"x"), packet(payload=b"x")
    datagram.protocol = wire.PROTOCOL_UDP
    fragment.payload_start = fragment.l4
    assert translation.apply(datagram, TO_SERVER, flags=4) is None
    assert translation.apply(fragment, TO_SERVER, flags=4) is None


def test_packet_that_would_not_fit_is_cut() -> None:
    """A packet of 64 kB that grows loses its end, which its sender sends again."""
    translation = Translation()
    translation.edits[TO_SERVER].note(1000, b"a" * 60000, b"b" * 70000, RULE)
    carried = translation.apply(packet(payload=b"a" * 60000), TO_SERVER)
    assert carried is not None
    assert len(carried.data) == 0xFFFF
