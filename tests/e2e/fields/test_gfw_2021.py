"""The double box on the wire, against FOCI21 and what Wang17 found unchecked (catalogue sections 1 and 3)."""

from __future__ import annotations

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, Seen, assert_bare

PRIMARY, BACKUP, NEITHER = 0.882, 0.870, 0.018
"""FOCI21 section 5, of 2,000 tries. By the first two, both would fail 1.53 % of the time."""
WITHIN = 2
"""Connections: the dice are the same in every run, and such that the rates come out (the scenario's seed)."""
RAW = ("other-port", "from-outside")
REAL = ("tls13", "tls12")
CHANGE_CIPHER_SPEC, HANDSHAKE, CLIENT_KEY_EXCHANGE = 20, 22, 16

everywhere = pytest.mark.parametrize("family", FAMILIES)


def hit_by(connection: Connection) -> str:
    """Which box answered: by what is forged in this connection, towards both ends."""
    shapes = tuple(" ".join(s.flags for s in connection.seen_forged(end)) for end in ("client", "server"))
    return {("RA RA RA", "RA RA RA"): "primary", ("R", ""): "backup", ("", ""): "neither"}[shapes]


def said(connection: Connection) -> list[Seen]:
    """What the client said, without what its kernel sent again."""
    found: dict[int, Seen] = {}
    for seen in connection.seen_genuine("client"):
        if seen.packet.payload:
            found.setdefault(seen.packet.seq, seen)
    return list(found.values())


def is_next_message(p: Packet) -> bool:
    """ClientKeyExchange or ChangeCipherSpec at the beginning of a segment (RFC 5246 sections 6.2.1 and 7.4)."""
    kind = p.payload[0]
    return kind == CHANGE_CIPHER_SPEC or (kind == HANDSHAKE and p.payload[5] == CLIENT_KEY_EXCHANGE)


@everywhere
@pytest.mark.parametrize("step", RAW + REAL)
def test_gfw_2021_primary_sends_three_and_else_the_backup_sends_one(
    finished_run: FinishedRun, step: str, family: int
) -> None:
    """Three RST+ACK to either end, or one RST, never both; bare, with the numbers the receiver expects."""
    found = finished_run("gfw-2021").connections(step, family)
    assert len(found) >= 10
    assert "primary" in {hit_by(connection) for connection in found}
    for connection in found:
        who = hit_by(connection)
        hello, *later = [seen.packet for seen in said(connection)]
        if who == "primary":
            behind = hello.seq + len(hello.payload)
            assert {(p.seq, p.ack) for p in connection.forged("client")} == {(hello.ack, behind)}
            assert {p.seq for p in connection.forged("server")} == {behind}
            assert_bare(connection.forged("client") + connection.forged("server"))
        elif who == "backup":
            assert_bare(connection.forged("client"))
            assert {p.seq for p in connection.forged("client")} == {later[0].ack}


@everywhere
def test_gfw_2021_is_on_every_port_and_goes_both_ways(finished_run: FinishedRun, family: int) -> None:
    """Port 12345 too, and clients outside: both boxes, the backup to them as well."""
    run = finished_run("gfw-2021")
    for step, port, inside in (("other-port", 12345, True), ("from-outside", 443, False)):
        found = run.connections(step, family)
        assert {(one.ends.server_port, one.client_is_inside) for one in found} == {(port, inside)}
        assert {hit_by(one) for one in found} >= {"primary", "backup"}


def test_gfw_2021_boxes_fire_as_often_as_published(finished_run: FinishedRun) -> None:
    """88.2 % of the ClientHellos, 87.0 % of what is left; about one in fifty gets past both, by either count of it."""
    run = finished_run("gfw-2021")
    looked_at = run.flows_matched("notice-blocked-name") & run.flows_matched("backup-looks-once")
    raw = [one for family in FAMILIES for step in RAW for one in run.connections(step, family)]
    who = [hit_by(one) for one in raw if (one.ends.client, one.ends.client_port) in looked_at]
    assert len(raw) == 400
    assert len(who) > 360
    primary, backup, neither = map(who.count, ("primary", "backup", "neither"))
    left = len(who) - primary
    assert abs(primary - PRIMARY * len(who)) <= WITHIN
    assert abs(backup - BACKUP * left) <= WITHIN
    assert abs(neither - NEITHER * len(who)) <= WITHIN
    assert neither >= 1


@everywhere
def test_gfw_2021_backup_waits_for_the_next_message(finished_run: FinishedRun, family: int) -> None:
    """Its RST comes behind ClientKeyExchange or ChangeCipherSpec, a round trip after the ClientHello."""
    run = finished_run("gfw-2021")
    backups = [one for step in REAL for one in run.connections(step, family) if hit_by(one) == "backup"]
    for connection in backups:
        first, second = said(connection)[:2]
        server_hello = connection.first_data("server")
        [reset] = connection.seen_forged("client")
        assert first.time_ns < server_hello.time_ns < second.time_ns < reset.time_ns
    backups += [one for step in RAW for one in run.connections(step, family) if hit_by(one) == "backup"]
    assert backups
    for connection in backups:
        second = said(connection)[1]
        assert is_next_message(second.packet)
        assert second.time_ns < connection.seen_forged("client")[0].time_ns


def test_gfw_2021_backup_forgets_at_the_clients_own_reset(finished_run: FinishedRun) -> None:
    """Where the primary has failed, a RST+ACK with a low TTL saves the client: of those without one most are reset."""
    run = finished_run("gfw-2021")
    found = [one for family in FAMILIES for one in run.connections("client-reset", family)]
    for connection in found:
        sent = [flag_letters(p.flags) for p in connection.genuine("client")]
        assert sent == ["S", "PA", "RA", "PA"]
        assert is_next_message(said(connection)[1].packet)
    assert {hit_by(one) for one in found} == {"primary", "neither"}


@everywhere
@pytest.mark.parametrize(("step", "ahead"), [("in-order", 80), ("out-of-order", -80)])
def test_gfw_2021_joins_segments_in_whatever_order(
    finished_run: FinishedRun, step: str, ahead: int, family: int
) -> None:
    """A ClientHello cut before its name is seen, with its second segment first too (FOCI21)."""
    found = finished_run("gfw-2021").connections(step, family)
    assert len(found) == 10
    for connection in found:
        segments = [p for p in connection.genuine("client") if p.payload]
        assert segments[1].seq - segments[0].seq == ahead
    assert "primary" in {hit_by(connection) for connection in found}


@everywhere
def test_gfw_2021_goes_on_behind_a_fin(finished_run: FinishedRun, family: int) -> None:
    """A FIN in front of the ClientHello ends nothing (Wang17 section 4)."""
    found = finished_run("gfw-2021").connections("behind-fin", family)
    assert len(found) == 10
    for connection in found:
        assert [flag_letters(p.flags) for p in connection.genuine("client")][:4] == ["S", "A", "FA", "PA"]
    assert "primary" in {hit_by(connection) for connection in found}


@everywhere
@pytest.mark.parametrize("step", ["behind-bad-checksum", "behind-bad-ack", "behind-data-offset-0"])
def test_gfw_2021_believes_what_no_server_does(finished_run: FinishedRun, step: str, family: int) -> None:
    """Checksum, ack number and data offset are not checked (Wang17 table 3): the ClientHello comes too late."""
    found = finished_run("gfw-2021").connections(step, family)
    assert len(found) == 10
    for connection in found:
        junk, hello = connection.genuine("client")[2:4]
        assert junk.seq == hello.seq
        assert b"GET / " in junk.data
        assert b"blocked.example" in hello.payload
    assert {hit_by(connection) for connection in found} == {"neither"}


@pytest.mark.parametrize("step", ["other-name", "not-tls", "afterwards"])
def test_gfw_2021_lets_others_alone(step: str, finished_run: FinishedRun) -> None:
    """Other names, clear HTTP, and whoever comes after a hit."""
    for family in FAMILIES:
        connection = finished_run("gfw-2021").connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
