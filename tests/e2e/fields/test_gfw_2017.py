"""Type 1 and type 2 of 2017 on the wire, against Wang17 and INTANG (catalogue sections 1, 2.1 and 3)."""

from __future__ import annotations

from math import sqrt

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, assert_bare

RESIDUAL_S, TIME_SCALE = 90, 0.02
OVERLOOKED = 0.028
MOST_OVERLOOKED = 34
"""More of 480 come once in two million times by chance, none as rarely (the binomial distribution)."""
TRIGGERS = ("http", "two-segments", "imap", "dns-over-tcp")


def by_flags(connection: Connection, towards: str, flags: str) -> list[Packet]:
    return [p for p in connection.forged(towards) if flag_letters(p.flags) == flags]


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2017_first_injector_is_one_rst_with_random_ttl_and_window(
    finished_run: FinishedRun, family: int
) -> None:
    """One RST for a request in one packet, none for one in two; fragment field 0, window never 0, TTLs that differ."""
    run = finished_run("gfw-2017")
    seen: list[Packet] = []
    for step in ("http", "imap", "dns-over-tcp"):
        connection = run.connection(step, family)
        trigger = connection.first_data().packet
        for towards, seq in (("client", trigger.ack), ("server", trigger.seq + len(trigger.payload))):
            first = by_flags(connection, towards, "R")[0]
            assert first.seq == seq
            seen.append(first)
    assert_bare(seen)
    assert all(p.window for p in seen)
    assert len({p.ttl for p in seen}) > 1
    assert len({p.window for p in seen}) > 1
    if family == 4:
        assert {p.dont_fragment for p in seen} == {False}
    split = run.connection("two-segments", family)
    answered = split.seen_forged("client")[:3]
    assert [s.flags for s in answered] == ["RA", "RA", "RA"]


@pytest.mark.parametrize("step", TRIGGERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2017_second_injector_counts(family: int, step: str, finished_run: FinishedRun) -> None:
    """Three RST+ACK at X, X+1460 and X+4380; window and TTL go up from packet to packet and round."""
    connection = finished_run("gfw-2017").connection(step, family)
    trigger = [p for p in connection.genuine("client") if p.payload][int(step == "two-segments")]
    expected = {"client": trigger.ack, "server": trigger.seq + len(trigger.payload)}
    for towards in ("client", "server"):
        three = by_flags(connection, towards, "RA")[:3]
        assert_bare(three)
        assert [p.seq - expected[towards] for p in three] == [0, 1460, 4380]
        windows, ttls = [p.window for p in three], [p.ttl for p in three]
        assert [w - windows[0] for w in windows] == [0, 1, 2]
        assert len(set(ttls)) == 3  # INTANG: more than one TTL within two seconds
        assert all(ttl - ttls[0] in (n, n - 192) for n, ttl in enumerate(ttls))
        assert all(windows)


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2017_residual_is_by_hosts_and_spoils_handshakes(finished_run: FinishedRun, family: int) -> None:
    """90 s between the two hosts on every port: a SYN gets a SYN+ACK with a wrong number, the rest RST and RST+ACK."""
    run = finished_run("gfw-2017")
    for step in ("punished", "punished-on-every-port"):
        connection = run.connection(step, family)
        [false] = by_flags(connection, "client", "SA")[:1]
        assert false.ack == connection.isn("client") + 1
        assert false.seq != connection.isn("server")
        assert by_flags(connection, "client", "R")
        assert by_flags(connection, "client", "RA")
    for step in ("other-server", "other-client", "forgiven", "other-word"):
        assert run.connection(step, family).forged("client") == []
    answered = run.connection("http", family).seen_forged("client")[0].time_ns
    forgiven = run.connection("forgiven", family).seen_genuine("client")[0].time_ns
    assert forgiven - answered >= RESIDUAL_S * TIME_SCALE * 1e9


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2017_cannot_discard(finished_run: FinishedRun, family: int) -> None:
    """On-path: the request reaches the server all the same."""
    run = finished_run("gfw-2017")
    connection = run.connection("http", family)
    assert any(b"ultrasurf" in p.payload for p in run.at_host("web", connection))


def test_gfw_2017_overlooks_as_many_as_published(finished_run: FinishedRun) -> None:
    """2.8 per cent of 480 requests get their page, and nothing is forged; to all others both injectors speak."""
    run = finished_run("gfw-2017-share")
    overlooked, count = 0, 0
    for family in FAMILIES:
        for step in (f"from-sim{number}" for number in range(1, 13)):
            for connection in run.connections(step, family):
                count += 1
                forged = connection.forged("client")
                overlooked += not forged
                assert {flag_letters(p.flags) for p in forged} in (set(), {"R", "RA"})
                if not forged:
                    assert connection.forged("server") == []
                    assert connection.first_data("server").packet.payload.startswith(b"HTTP/1.1 200 ")
    assert count == 480
    assert 1 <= overlooked <= MOST_OVERLOOKED
    assert abs(overlooked - OVERLOOKED * count) < 5 * sqrt(OVERLOOKED * (1 - OVERLOOKED) * count)
