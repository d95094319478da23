"""How the box reads TCP: for each knob a conversation that one box sees and another does not.

Each pair says which evasion the knob is about (Wang17 table 3, Khattak13, Ptacek and Newsham 1998).
"""

from __future__ import annotations

from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6

from middlebox import packet as wire
from middlebox.flow import Direction, Side
from middlebox.packet import decode, tcp_segment
from middlebox.profile import Overlap, Reassembly, StateFrom, TcpReading
from middlebox.reading import fresh_payload, is_sound
from middlebox.stream import REUSE_DISTANCE
from tests.unit.talk import CLIENT, SERVER, STARTTLS, Talk, engine_for, rule
from tests.unit.tls_bytes import client_hello

TO_SERVER, TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
LINE = b"STARTTLS\r\n"


def talk(when: str = STARTTLS, **tcp: Any) -> Talk:
    return Talk(engine_for(rule(when), **tcp))


def seen(decision: Any) -> bool:
    return bool(decision.forged)


@pytest.mark.parametrize(
    ("state_from", "syn", "syn_ack", "middle"),
    [
        (StateFrom.SYN, True, False, False),
        (StateFrom.SYNACK, True, True, False),
        (StateFrom.ANY, True, True, True),
    ],
)
def test_state_from_says_which_first_packet_counts(
    state_from: StateFrom, *, syn: bool, syn_ack: bool, middle: bool
) -> None:
    """TCB creation: on SYN, on SYN+ACK too (Wang17), or whenever anything is seen."""
    found = []
    for first in ("S", "SA", ""):
        one = talk(state_from=state_from)
        if first == "S":
            one.client_sends(flags="S")
        elif first == "SA":
            one.server_sends(flags="SA")
        found.append(seen(one.client_sends(LINE)))
    assert found == [syn, syn_ack, middle]


def test_synack_alone_says_where_both_streams_begin() -> None:
    """A box that is shown no SYN joins a command whose second segment is the first one that it sees (RFC 9293 3.5)."""
    one = talk()
    one.seq[TO_SERVER] = 5000
    one.server_sends(flags="SA")
    one.client_sends(LINE[4:], seq=5004)
    assert seen(one.client_sends(LINE[:4], seq=5000))
    one = talk("smtp.response.code == 220")
    one.server_sends(flags="SA")
    start = one.seq[TO_CLIENT]
    one.server_sends(b"mail\r\n", seq=start + 4)
    assert seen(one.server_sends(b"220 ", seq=start))


@pytest.mark.parametrize("whole", [True, False])
def test_handshake_knob_wants_all_three_steps(*, whole: bool) -> None:
    """SYN and data without SYN+ACK are enough for some boxes, not for others (Wu23 4.5)."""
    half_open = talk(handshake=whole)
    half_open.client_sends(flags="S")
    assert seen(half_open.client_sends(LINE)) is not whole
    assert seen(talk(handshake=whole).connect().client_sends(LINE))


def test_handshake_knob_sees_the_servers_part_although_no_rule_does() -> None:
    """The server's direction is not let go before its SYN+ACK was seen."""
    one = talk('tcp.dstport == 587 and tcp.payload contains "x"', handshake=True)
    assert not one.client_sends(flags="S").offload


@pytest.mark.parametrize(
    ("reassembly", "split", "early"),
    [(Reassembly.NONE, False, False), (Reassembly.IN_ORDER, True, False), (Reassembly.FULL, True, True)],
)
def test_reassembly_joins_what_it_says(reassembly: Reassembly, *, split: bool, early: bool) -> None:
    """A command in two segments, in order and the second one first."""
    in_order = talk(reassembly=reassembly).connect()
    in_order.client_sends(LINE[:4])
    assert seen(in_order.client_sends(LINE[4:])) is split
    swapped = talk(reassembly=reassembly).connect()
    start = swapped.seq[TO_SERVER]
    swapped.client_sends(LINE[4:], seq=start + 4)
    assert seen(swapped.client_sends(LINE[:4], seq=start)) is early


def test_long_connection_stays_the_same_for_a_box_that_reads_no_streams() -> None:
    """Its sequence numbers go on far beyond those of its SYN, and what was counted is not counted anew."""
    packet = bytes(60_000)
    limit = REUSE_DISTANCE + 10 * len(packet)
    one = talk(f"flow.bytes > {limit}").connect()
    sent = 0
    while not (matched := seen(one.client_sends(packet))) and sent < 2 * limit:
        sent += len(packet)
    assert matched
    assert sent < limit


@pytest.mark.parametrize(("overlap", "sees"), [(Overlap.FIRST, False), (Overlap.LAST, True)])
def test_overlap_decides_which_copy_is_read(overlap: Overlap, *, sees: bool) -> None:
    """Junk beyond a hole, then the same bytes again with the command: the first or the last copy counts."""
    one = talk(overlap=overlap).connect()
    start = one.seq[TO_SERVER]
    one.client_sends(b"xxxxxx\r\n", seq=start + 2)
    one.client_sends(LINE[2:], seq=start + 2)
    assert seen(one.client_sends(LINE[:2], seq=start)) is sees


@pytest.mark.parametrize("checks", [True, False])
def test_checksum_knob_decides_about_junk_that_no_end_takes(*, checks: bool) -> None:
    """Insertion: a segment with a bad checksum fills the place of the command for a box that does not look."""
    one = talk(checks_checksum=checks).connect()
    ends = {"src": CLIENT, "dst": SERVER, "sport": one.port, "dport": one.server_port}
    fields = {"seq": one.seq[TO_SERVER], "ack": one.seq[TO_CLIENT], "flags": wire.ACK, "window": 1, "ttl": 60}
    junk = bytearray(tcp_segment(**ends, **fields, payload=b"XXXXXXXX\r\n"))  # type: ignore[arg-type]
    junk[36] ^= 0x55
    one.engine.handle(bytes(junk), 0, Side.INSIDE)
    assert seen(one.client_sends(LINE)) is checks


@pytest.mark.parametrize("checks", [True, False])
def test_checksum_knob_protects_from_a_syn_with_other_numbers(*, checks: bool) -> None:
    """A SYN that no end takes starts the connection anew for a box that does not look."""
    one = talk(checks_checksum=checks, state_from=StateFrom.SYN, reassembly=Reassembly.FULL).connect()
    one.client_sends(LINE[:4])
    ends = {"src": CLIENT, "dst": SERVER, "sport": one.port, "dport": one.server_port}
    syn = bytearray(tcp_segment(**ends, seq=77, ack=0, flags=wire.SYN, window=1, ttl=60))  # type: ignore[arg-type]
    syn[36] ^= 0x55
    one.engine.handle(bytes(syn), 0, Side.INSIDE)
    assert seen(one.client_sends(LINE[4:])) is checks


@pytest.mark.parametrize("checks", [True, False])
def test_ack_knob_decides_about_an_ack_of_what_was_never_sent(*, checks: bool) -> None:
    """Insertion: no end takes data that acknowledges the future (RFC 9293 3.10.7.4)."""
    one = talk(checks_ack=checks).connect()
    start = one.seq[TO_SERVER]
    one.client_sends(b"XXXXXXXX\r\n", seq=start, ack=one.seq[TO_CLIENT] + 5000)
    assert seen(one.client_sends(LINE)) is checks


def test_ack_knob_follows_the_other_end_whatever_rules_read() -> None:
    """A rule on headers alone needs the server's numbers too, its data and its FIN included."""
    one = talk("tcp.dstport == 587 and tcp.len == 3", checks_ack=True).connect()
    one.server_sends(b"hello")
    assert seen(one.client_sends(b"abc"))
    one.server_sends(flags="FA")
    assert seen(one.client_sends(b"abc"))


@pytest.mark.parametrize("checks", [True, False])
def test_data_offset_knob_decides_about_a_header_that_lies(*, checks: bool) -> None:
    """A data offset below five words is dropped by every end; a box that does not look reads on (Wang17)."""
    one = talk(checks_data_offset=checks).connect()
    ends = {"src": CLIENT, "dst": SERVER, "sport": one.port, "dport": one.server_port}
    data = bytearray(
        tcp_segment(**ends, seq=one.seq[TO_SERVER], ack=1, flags=wire.ACK, window=1, ttl=9, payload=LINE)  # type: ignore[arg-type]
    )
    data[32] = 0x00
    assert seen(one.engine.handle(bytes(data), 0, Side.INSIDE)) is not checks


@pytest.mark.parametrize(("knob", "flags"), [("ends_on_rst", "R"), ("ends_on_fin", "FA")])
@pytest.mark.parametrize("ends", [True, False])
def test_teardown_knobs_decide_what_a_forged_end_does(knob: str, flags: str, *, ends: bool) -> None:
    """A RST or FIN that never arrives (low TTL) blinds a box that tears its state down."""
    one = talk(
        state_from=StateFrom.SYN, **({"ends_on_rst": False, "ends_on_fin": False} | {knob: ends})
    ).connect()
    one.client_sends(flags=flags, seq=one.seq[TO_SERVER])
    assert seen(one.client_sends(LINE)) is not ends


@pytest.mark.parametrize(("buffer_bytes", "sees"), [(4, True), (1000, False)])
def test_buffer_knob_says_when_a_hole_is_given_up(buffer_bytes: int, *, sees: bool) -> None:
    """Behind a hole that never fills the box reads on when its buffer is full."""
    one = talk(buffer_bytes=buffer_bytes).connect()
    assert seen(one.client_sends(LINE, seq=one.seq[TO_SERVER] + 100)) is sees


@pytest.mark.parametrize(("idle_ns", "sees"), [(10, False), (10_000, True)])
def test_idle_knob_says_when_a_connection_is_forgotten(idle_ns: int, *, sees: bool) -> None:
    """Silence blinds a box that forgets soon; others come meanwhile."""
    one = talk(idle_ns=idle_ns, state_from=StateFrom.SYN).connect()
    other = Talk(one.engine, port=50000)
    other.now_ns = one.now_ns = 1000
    other.connect()
    assert seen(one.client_sends(LINE)) is sees


@pytest.mark.parametrize(("max_flows", "sees"), [(1, False), (2, True)])
def test_max_flows_knob_says_how_many_are_remembered(max_flows: int, *, sees: bool) -> None:
    """A full table forgets the oldest."""
    one = talk(max_flows=max_flows, state_from=StateFrom.SYN).connect()
    Talk(one.engine, port=50000).connect()
    assert seen(one.client_sends(LINE)) is sees


@pytest.mark.parametrize("joins", [True, False])
def test_record_knob_decides_about_a_hello_in_two_records(*, joins: bool) -> None:
    """The Great Firewall of 2024 does not put TLS records together (SP25)."""
    when = 'tls.handshake.extensions_server_name contains "blocked"'
    one = talk(when, join_tls_records=joins).connect()
    hello = client_hello("blocked.example")
    parts = hello[:20], hello[20:]
    records = b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)
    assert seen(one.client_sends(records)) is joins


def test_rules_are_shown_the_bytes_that_a_filled_hole_makes_readable_and_events_the_packet() -> None:
    """The trigger is the packet that came, whatever it completed: it must be found in a capture."""
    one = talk('tcp.payload contains "ultrasurf"').connect()
    start = one.seq[TO_SERVER]
    one.client_sends(b"surf", seq=start + 5)
    decision = one.client_sends(b"ultra", seq=start)
    (matched,) = [event for event in decision.events if event.kind == "rule_matched"]
    assert matched.details["trigger"]["length"] == len(b"ultra")


@pytest.mark.parametrize("version", [4, 6])
def test_checksum_of_a_card_that_will_finish_it_is_right(version: int) -> None:
    """A sender that leaves the sum to its network card writes the sum of the pseudo-header (scapy computes it)."""
    ip = (
        IP(src="192.0.2.11", dst="203.0.113.25")
        if version == 4
        else IPv6(src="2001:db8:1::11", dst="2001:db8:3::25")
    )
    whole = decode(bytes(ip / TCP(sport=40000, dport=587, seq=1, ack=1, flags="PA") / LINE))
    assert whole is not None
    zeroed = bytearray(whole.data)
    zeroed[whole.l4 + 16 : whole.l4 + 18] = b"\0\0"
    # The finished sum covers pseudo-header and segment: what the segment adds is taken out again.
    finished = whole.transport_checksum ^ 0xFFFF
    segment = wire.ones_complement_sum(bytes(zeroed[whole.l4 :]))
    pseudo = (finished - segment) % 0xFFFF
    partial = bytes(zeroed[: whole.l4 + 16]) + pseudo.to_bytes(2, "big") + bytes(zeroed[whole.l4 + 18 :])
    p = decode(partial)
    assert p is not None
    reading = TcpReading(checks_checksum=True)
    assert is_sound(p, reading)
    wrong = decode(partial[: p.l4 + 16] + ((pseudo + 1) & 0xFFFF).to_bytes(2, "big") + partial[p.l4 + 18 :])
    assert wrong is not None
    assert not is_sound(wrong, reading)


def test_fresh_payload_is_what_was_not_read_before() -> None:
    """A segment that was sent again with more behind it: the new part, none of the old."""
    ends = {"src": CLIENT, "dst": SERVER, "sport": 1, "dport": 2}
    p = decode(tcp_segment(**ends, seq=100, ack=0, flags=0, window=0, ttl=1, payload=b"abcdef"))  # type: ignore[arg-type]
    assert p is not None
    assert fresh_payload(p) == b"abcdef"
    p.read_from = 104
    assert fresh_payload(p) == b"ef"
    p.read_from = 200
    assert fresh_payload(p) == b""


def test_later_fragments_are_let_through() -> None:
    """They have no TCP header: nothing of them is read as one."""
    data = tcp_segment(
        src=CLIENT, dst=SERVER, sport=1, dport=2, seq=1, ack=1, flags=wire.ACK, window=1, ttl=9
    )
    fragment = data[:6] + b"\x00\x10" + data[8:24]
    assert engine_for(rule(STARTTLS)).handle(fragment, 0, Side.INSIDE).events == ()
