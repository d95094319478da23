"""The double box on the wire, against FOCI21 (catalogue section 1)."""

from __future__ import annotations

from math import sqrt

import pytest

from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, assert_bare

PRIMARY, BACKUP = 0.882, 0.870
DEVIATIONS = 5
"""A rate that is farther off than so many standard deviations is another rate (chosen)."""


def hit_by(connection: Connection) -> str:
    """Which box answered: by what is forged in this connection, towards both ends."""
    shapes = tuple(" ".join(s.flags for s in connection.seen_forged(end)) for end in ("client", "server"))
    return {("RA RA RA", "RA RA RA"): "primary", ("R", ""): "backup", ("", ""): "neither"}[shapes]


def connections(run: FinishedRun, family: int) -> list[Connection]:
    return [c for step in ("tls13", "tls12") for c in run("gfw-2021").connections(step, family)]


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2021_primary_sends_three_and_else_the_backup_sends_one(
    finished_run: FinishedRun, family: int
) -> None:
    """Three RST+ACK to either end, or one RST, never both; bare, with the numbers the receiver expects."""
    found = connections(finished_run, family)
    assert len(found) == 120
    for connection in found:
        who = hit_by(connection)
        hello = connection.first_data().packet
        if who == "primary":
            behind = hello.seq + len(hello.payload)
            assert {(p.seq, p.ack) for p in connection.forged("client")} == {(hello.ack, behind)}
            assert {p.seq for p in connection.forged("server")} == {behind}
            assert_bare(connection.forged("client") + connection.forged("server"))
        elif who == "backup":
            assert_bare(connection.forged("client"))


def test_gfw_2021_boxes_fire_as_often_as_published(finished_run: FinishedRun) -> None:
    """88.2 % of the ClientHellos, 87.0 % of what is left."""
    who = [hit_by(connection) for family in FAMILIES for connection in connections(finished_run, family)]
    left = [word for word in who if word != "primary"]
    for share, count, of in (
        (PRIMARY, who.count("primary"), len(who)),
        (BACKUP, left.count("backup"), len(left)),
    ):
        assert abs(count / of - share) < DEVIATIONS * sqrt(share * (1 - share) / of)


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2021_backup_waits_for_the_next_message(finished_run: FinishedRun, family: int) -> None:
    """Its RST comes behind the second message of the client, one round trip after the ClientHello."""
    backups = [c for c in connections(finished_run, family) if hit_by(c) == "backup"]
    assert backups
    for connection in backups:
        first, second = [s for s in connection.seen_genuine("client") if s.packet.payload][:2]
        server_hello = connection.first_data("server")
        [reset] = connection.seen_forged("client")
        assert first.time_ns < server_hello.time_ns < second.time_ns < reset.time_ns
        assert second.packet.payload[0] in (0x14, 0x16)  # ChangeCipherSpec, or a handshake message


@pytest.mark.parametrize("step", ["other-name", "not-tls", "afterwards"])
def test_gfw_2021_lets_others_alone(step: str, finished_run: FinishedRun) -> None:
    """Other names, clear HTTP, and whoever comes after a hit."""
    for family in FAMILIES:
        connection = finished_run("gfw-2021").connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
