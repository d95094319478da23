"""TSPU's resets in the server's own packets on the wire, against the operator's manual (catalogue section 7)."""

from __future__ import annotations

import pytest

from middlebox.packet import SYN, Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, options_of
from tests.e2e.fields.silence import assert_all_pass, passages

SERVER_LINK_S = 0.02
"""What the scenario's link to the server takes each way: a reset that had not been there would come sooner."""


def assert_same_header(before: Packet, made: Packet) -> None:
    """All but flags, payload, lengths, checksums and one hop of the TTL: MPLS labels and headers stay (manual, 4.8)."""
    assert (made.src, made.dst, made.sport, made.dport) == (
        before.src,
        before.dst,
        before.sport,
        before.dport,
    )
    assert (made.seq, made.ack, made.window) == (before.seq, before.ack, before.window)
    assert (made.ip_id, made.dont_fragment, made.ttl) == (before.ip_id, before.dont_fragment, before.ttl - 1)
    word = 2 if made.version == 4 else 4  # with the TOS, or with traffic class and flow label
    assert made.data[:word] == before.data[:word]
    assert options_of(made) == options_of(before)


def replaced(connection: Connection) -> list[tuple[Packet, Packet]]:
    """(what the server sent, what left the box instead of it), in order."""
    gone = [seen.packet for seen, passed in passages(connection, "server") if not passed]
    return list(zip(gone, connection.forged("client"), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["sni", "raced"])
def test_next_server_packet_becomes_a_reset(step: str, family: int, finished_run: FinishedRun) -> None:
    """The same packet but for its flags: one packet, the one behind the ClientHello."""
    connection = finished_run("tspu-rst").connection(step, family)
    (before, made), *moved = replaced(connection)
    hello = connection.first_data()
    after = [s.packet for s in connection.seen_genuine("server") if s.time_ns > hello.time_ns]
    assert before == after[0]
    assert_same_header(before, made)
    assert flag_letters(made.flags) == "RA"
    assert connection.relative(made) == (1, 1 + len(hello.packet.payload))
    # Only if that packet had data are there others, with their numbers moved.
    assert not any("R" in flag_letters(p.flags) for _, p in moved)


@pytest.mark.parametrize("family", FAMILIES)
def test_payload_of_the_next_server_packet_is_stripped_and_the_one_after_it_passes(
    family: int, finished_run: FinishedRun
) -> None:
    """Of two packets with data the first becomes a RST+ACK without, though nobody has seen the connection begin."""
    run = finished_run("tspu-rst")
    # The server's packets are this step's own, so here it is the one that the others call client.
    connection = run.connection("answers", family)
    first, second = connection.genuine("client")
    made, following = connection.forged("server")
    assert (first.payload, made.payload) == (b"an answer", b"")
    assert flag_letters(made.flags) == "RA"
    assert_same_header(first, made)
    assert (flag_letters(following.flags), following.payload) == ("PA", second.payload)
    asked = passages(run.connection("asks", family))
    assert asked[0][1]
    assert not any(seen.packet.flags & SYN for seen, _ in asked)


@pytest.mark.parametrize("family", FAMILIES)
def test_request_itself_passes_and_the_server_is_told_nothing(finished_run: FinishedRun, family: int) -> None:
    """The client packet passes; one round trip later its connection is over; the server gets no RST of the box's."""
    run = finished_run("tspu-rst")
    connection = run.connection("sni", family)
    assert_all_pass(passages(connection))
    assert connection.forged("server") == []
    assert next(p.payload for p in run.at_host("web", connection) if p.payload) == (
        connection.first_data().packet.payload
    )
    assert run.outcome("sni", family) == "connection-reset"
    reset = connection.seen_forged("client")[0]
    assert (reset.time_ns - connection.first_data().time_ns) / 1e9 > 2 * SERVER_LINK_S


@pytest.mark.parametrize("family", FAMILIES)
def test_http_answer_becomes_a_redirect(finished_run: FinishedRun, family: int) -> None:
    """The next server packet with data says 302 and where to go; what follows has numbers that fit."""
    connection = finished_run("tspu-rst").connection("host", family)
    redirect = connection.seen_forged("client")[0].packet
    assert redirect.payload.startswith(b"HTTP/1.1 302 Found\r\nLocation: http://")
    said = connection.first_data("server").packet
    assert (redirect.seq, redirect.ip_id, redirect.ttl) == (said.seq, said.ip_id, said.ttl - 1)
    assert said.payload.startswith(b"HTTP/1.1 200")
    following = connection.forged("client")[1:]
    assert all((p.seq - redirect.seq) & 0xFFFFFFFF <= len(redirect.payload) + 3000 for p in following)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "step", ["other-name", "other-host", "afterwards", "asks-from-outside", "answers-outside"]
)
def test_others_are_let_alone(step: str, family: int, finished_run: FinishedRun) -> None:
    """Neither end's packets are changed, before and after somebody was hit, nor what a client outside is
    answered."""
    connection = finished_run("tspu-rst").connection(step, family)
    assert_all_pass(passages(connection), passages(connection, "server"))
    assert connection.forged("client") + connection.forged("server") == []
