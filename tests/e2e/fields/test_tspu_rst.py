"""TSPU's resets in the server's own packets on the wire, against the operator's manual (catalogue section 7)."""

from __future__ import annotations

import pytest

from middlebox.packet import Packet
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, options_of
from tests.e2e.fields.silence import assert_all_pass, passages


def replaced(connection: Connection) -> list[tuple[Packet, Packet]]:
    """(what the server sent, what left the box instead of it), in order."""
    gone = [seen.packet for seen, passed in passages(connection, "server") if not passed]
    return list(zip(gone, connection.forged("client"), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["sni", "raced"])
def test_next_server_packet_becomes_a_reset_without_payload(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """The same packet but for its flags and payload: addresses, IP ID, TTL, numbers, window."""
    connection = finished_run("tspu-rst").connection(step, family)
    changes = replaced(connection)
    hello_ns = connection.first_data().time_ns
    after = [s.packet for s in connection.seen_genuine("server") if s.time_ns > hello_ns]
    # What the server sends again may come when the box has been switched off.
    assert [before for before, _ in changes] == after[: len(changes)]
    assert len(changes) >= 2
    for before, made in changes:
        assert (made.payload, made.ttl) == (b"", before.ttl - 1)
        assert (made.ip_id, made.window, made.ack) == (before.ip_id, before.window, before.ack)
        assert options_of(made) == options_of(before)
    first_before, first_made = changes[0]
    assert first_made.seq == first_before.seq
    assert {seen.flags for seen in connection.seen_forged("client")} == {"RA"}
    assert connection.relative(first_made) == (1, 1 + len(connection.first_data().packet.payload))


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
@pytest.mark.parametrize("step", ["other-name", "other-host", "afterwards"])
def test_other_names_are_let_alone(step: str, family: int, finished_run: FinishedRun) -> None:
    """Neither end's packets are changed, before and after somebody was hit."""
    connection = finished_run("tspu-rst").connection(step, family)
    assert_all_pass(passages(connection), passages(connection, "server"))
    assert connection.forged("client") + connection.forged("server") == []
