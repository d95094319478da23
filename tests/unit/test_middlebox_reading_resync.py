"""What a box does with a second SYN, and how it loses count and finds its way again (Wang17 section 4, Bock20 5.1).

The conversations are those of Wang17: insertion packets that no server sees, then the request.
"""

from __future__ import annotations

from typing import Any

import pytest

from middlebox.flow import Direction
from middlebox.profile import SecondSyn, StateFrom
from tests.unit.talk import Talk, engine_for, rule

NEW, IGNORED, RESYNC = SecondSyn.NEW, SecondSyn.IGNORED, SecondSyn.RESYNC
TO_SERVER, TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
WORD = 'http.request.uri contains "ultrasurf"'
REQUEST = b"GET /ultrasurf HTTP/1.1\r\n\r\n"
FAR = 300_000_000


def talk(second_syn: SecondSyn, when: str = WORD, **tcp: Any) -> Talk:
    watching = rule(when, direction=TO_SERVER)
    reading = {"state_from": StateFrom.SYNACK, "second_syn": second_syn} | tcp
    return Talk(engine_for(watching, **reading), server_port=80)


def sees_request(one: Talk, payload: bytes = REQUEST) -> bool:
    return bool(one.client_sends(payload).forged)


def seen(box: SecondSyn, *insertions: tuple[str, int, bytes]) -> bool:
    """Whether the request is seen after a handshake and these: (flags, how far from the right number, payload)."""
    one = talk(box).connect()
    for flags, ahead, payload in insertions:
        one.client_sends(payload, flags=flags, seq=(one.seq[TO_SERVER] + ahead) & 0xFFFFFFFF)
    return sees_request(one)


SYN, BYTE = ("S", FAR, b""), ("PA", 2 * FAR, b"x")


@pytest.mark.parametrize(
    ("insertions", "seen_by"),
    [
        ((), {NEW, IGNORED, RESYNC}),
        ((SYN,), {IGNORED, RESYNC}),
        ((BYTE,), {NEW, IGNORED, RESYNC}),
        ((SYN, BYTE), {IGNORED}),
        ((BYTE, SYN), {IGNORED, RESYNC}),
        ((SYN, SYN), {IGNORED, RESYNC}),
        # Not far enough to be another connection's, but beyond any window.
        ((SYN, ("PA", 10_000_000, b"x")), {IGNORED}),
        ((SYN, ("PA", -10_000_000, b"x")), {IGNORED}),
        # It is the client's data that counts, and nothing else of what the client says.
        ((SYN, ("A", 2 * FAR, b"")), {IGNORED, RESYNC}),
    ],
)
def test_insertions_after_the_handshake_hide_the_request_from_some(
    insertions: tuple[tuple[str, int, bytes], ...], seen_by: set[SecondSyn]
) -> None:
    """Each way to take a second SYN falls for another trick; the same SYN again is no trick."""
    assert {box for box in SecondSyn if seen(box, *insertions)} == seen_by


@pytest.mark.parametrize(("box", "sees"), [(NEW, True), (IGNORED, False), (RESYNC, True)])
def test_false_syn_before_the_handshake_fools_who_stands_by_the_first(box: SecondSyn, *, sees: bool) -> None:
    """TCB creation with a SYN that no server sees; the SYN+ACK says what the server expects."""
    one = talk(box)
    one.client_sends(flags="S", seq=FAR)
    assert sees_request(one.connect()) is sees


@pytest.mark.parametrize(("box", "sees"), [(NEW, True), (IGNORED, False), (RESYNC, False)])
def test_syn_ack_of_the_clients_turns_the_ends_round_for_good(box: SecondSyn, *, sees: bool) -> None:
    """TCB reversal: whoever sends a SYN+ACK first is taken for the server, and servers' data are not looked at."""
    one = talk(box)
    one.client_sends(flags="SA")
    assert sees_request(one.connect()) is sees


def lost(one: Talk) -> bool:
    """Whether the box has lost count: it takes up any number then, and the right one no more."""
    one.client_sends(b"x", seq=one.seq[TO_SERVER] + 2 * FAR)
    return not sees_request(one)


def test_second_syn_ack_makes_the_box_lose_count() -> None:
    """Wang17 section 4, (b); the third one leads it back."""
    one = talk(RESYNC).connect()
    one.server_sends(flags="SA", seq=5000)
    assert lost(one)
    one = talk(RESYNC).connect()
    for _ in range(2):
        one.server_sends(flags="SA", seq=5000)
    assert not lost(one)


@pytest.mark.parametrize(("ack", "loses"), [(1001, False), (1002, True), (FAR, True)])
def test_syn_ack_that_acknowledges_another_syn_makes_the_box_lose_count(ack: int, *, loses: bool) -> None:
    """Wang17 section 4, (c); the client's first sequence number is 1000."""
    one = talk(RESYNC)
    one.client_sends(flags="S")
    one.server_sends(flags="SA", ack=ack)
    assert lost(one) is loses


@pytest.mark.parametrize("box", SecondSyn)
def test_box_that_saw_no_syn_takes_the_clients_number_from_the_syn_ack(box: SecondSyn) -> None:
    """It knows what the server expects, so a stray byte is one (Wang17 section 4: TCB creation by SYN+ACK)."""
    one = talk(box)
    one.seq[TO_SERVER] += 1
    one.server_sends(flags="SA")
    one.client_sends(b"x", seq=one.seq[TO_SERVER] + FAR)
    assert sees_request(one)


def test_what_the_server_says_does_not_lead_the_box_back() -> None:
    """Neither its acknowledgments nor its data (Wang17 section 4)."""
    one = talk(RESYNC).connect()
    one.client_sends(flags="S", seq=FAR)
    one.server_sends(flags="A")
    one.server_sends(b"hello")
    assert lost(one)


def test_box_that_has_lost_count_joins_what_comes_then() -> None:
    """It still reads a stream, not single packets: a request in two segments is seen (Wang17 section 4)."""
    one = talk(RESYNC).connect()
    one.client_sends(flags="S", seq=FAR)
    one.client_sends(REQUEST[:10])
    assert sees_request(one, REQUEST[10:])


def test_box_that_has_lost_count_begins_to_read_anew() -> None:
    """What it had refuted before may come after all; where the first SYN counts it has given up."""
    for box, sees in ((RESYNC, True), (IGNORED, False)):
        one = talk(box).connect()
        one.client_sends(b"\x16\x03\x01 no HTTP at all\r\n")
        one.client_sends(flags="S", seq=FAR)
        assert sees_request(one) is sees


def test_next_connection_on_the_same_ports_is_read() -> None:
    """To such a box it is a second SYN, and the SYN+ACK behind it leads it there."""
    one = talk(RESYNC).connect()
    assert not sees_request(one, b"GET /harmless HTTP/1.1\r\n\r\n")
    one.seq = {TO_SERVER: FAR, TO_CLIENT: 2 * FAR}
    assert sees_request(one.connect())


@pytest.mark.parametrize(
    ("share", "ends", "sees"),
    [(0.0, True, False), (0.0, False, True), (1.0, True, True), (1.0, False, True)],
)
def test_rst_ends_a_connection_or_makes_the_box_lose_count(share: float, *, ends: bool, sees: bool) -> None:
    """Only where it is forgotten is the request nobody's."""
    one = talk(NEW, resync_on_rst=share, ends_on_rst=ends).connect()
    one.client_sends(flags="R")
    assert sees_request(one) is sees
    one = talk(NEW, resync_on_rst=share, ends_on_rst=ends).connect()
    one.client_sends(flags="R")
    assert lost(one) is (ends or share == 1)


@pytest.mark.parametrize(("refusal", "later"), [(1.0, 0.0), (0.0, 1.0)])
def test_refusal_is_a_rst_of_the_servers_in_answer_to_the_syn(refusal: float, later: float) -> None:
    """Not the client's own, and not one that comes after the server's SYN+ACK (Bock20 5.1)."""
    for sender, handshake in (("server", False), ("client", False), ("server", True)):
        one = talk(NEW, resync_on_refusal=refusal, resync_on_rst=later)
        one.client_sends(flags="S")
        if handshake:
            one.server_sends(flags="SA")
        (one.server_sends if sender == "server" else one.client_sends)(flags="RA")
        refused = (sender, handshake) == ("server", False)
        assert sees_request(one) is bool(refusal if refused else later)


def test_box_does_not_let_go_of_what_it_has_lost_count_of() -> None:
    """What the kernel passed meanwhile would be missing when it finds its way again."""
    one = talk(RESYNC, 'http.request.uri contains "ultrasurf" and tcp.dstport == 81')
    assert one.client_sends(flags="S").offload
    one.server_sends(flags="SA")
    assert not one.client_sends(flags="S").offload
    assert one.client_sends(b"x").offload
