"""The Great Firewall's silence after fully encrypted traffic on the wire, against Wu23 (catalogue 2.1, 2.2, 3)."""

from __future__ import annotations

import pytest

from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection
from tests.e2e.fields.silence import assert_all_pass, assert_silent_between, passages, since
from tests.property.wu23_algorithm_1 import exemptions

DURATION_S, PROBABILITY = 180.0, 0.263
LAG_S = 0.0
EXEMPT = ("six-printable", "half-printable", "long-run", "few-bits", "many-bits", "like-tls", "like-http")
SHARE_STEPS = ("first", "second", "third", "fourth")


@pytest.mark.parametrize("family", FAMILIES)
def test_client_is_cut_off_for_three_minutes(finished_run: FinishedRun, family: int) -> None:
    """From the first packet with data on, which passes; SYNs in between do not start the time anew (180 s, scaled)."""
    run = finished_run("gfw-fet")
    connection = run.connection("encrypted", family)
    trigger = connection.first_data()
    assert exemptions(trigger.packet.payload) == set()
    sent = passages(connection)
    assert [passed for seen, passed in sent if seen.time_ns <= trigger.time_ns] == [True] * 3
    end_s = DURATION_S * run.result["time_scale"]
    after = since(trigger, [p for p in sent if p[0].time_ns > trigger.time_ns])
    assert {passed for at_s, passed in after if at_s < end_s - 0.2} == {False}
    syns = since(trigger, passages(run.connection("syns", family)))
    assert_silent_between(LAG_S, end_s, [(-1.0, True), *syns])


@pytest.mark.parametrize("family", FAMILIES)
def test_server_and_udp_and_other_ports_go_on(finished_run: FinishedRun, family: int) -> None:
    """What the server sends passes, so do datagrams to the same port and everything to another; nothing is injected."""
    run = finished_run("gfw-fet")
    encrypted = run.connection("encrypted", family)
    assert_all_pass(passages(encrypted, "server"))
    end_ns = encrypted.first_data().time_ns + DURATION_S * run.result["time_scale"] * 1e9
    for step in ("udp", "other-port"):
        connections = run.connections(step, family)
        assert_all_pass(*map(passages, connections))
        assert [c for c in connections if c.first_data().time_ns < end_ns]
    assert encrypted.forged("client") + encrypted.forged("server") == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", EXEMPT)
def test_exemption_lets_a_dozen_connections_go(step: str, family: int, finished_run: FinishedRun) -> None:
    """Each for the one reason of Algorithm 1 that the step is named after."""
    connections = finished_run("gfw-fet").connections(step, family)
    assert len(connections) == 12
    for connection in connections:
        assert exemptions(connection.first_data().packet.payload) == {step}
    assert_all_pass(*map(passages, connections))


@pytest.mark.parametrize("family", FAMILIES)
def test_only_the_first_packet_with_data_is_looked_at(finished_run: FinishedRun, family: int) -> None:
    """Six printable bytes first, random bytes after: a dozen times nothing happens."""
    connections = finished_run("gfw-fet").connections("later-packets", family)
    assert len(connections) == 12
    for connection in connections:
        first, second, *_ = [p.payload for p in connection.genuine("client") if p.payload]
        assert (exemptions(first) > set(), exemptions(second)) == (True, set())
    assert_all_pass(*map(passages, connections))


@pytest.mark.parametrize("family", FAMILIES)
def test_fully_encrypted_data_behind_a_syn_alone_does_nothing(finished_run: FinishedRun, family: int) -> None:
    """Without a SYN+ACK the box takes no data seriously, a dozen times."""
    connections = finished_run("gfw-fet").connections("behind-syn", family)
    assert len(connections) == 12
    for connection in connections:
        assert connection.genuine("server") == []
        assert exemptions(connection.first_data().packet.payload) == set()
    assert_all_pass(*map(passages, connections))


def was_cut_off(connection: Connection, duration_s: float) -> bool:
    """Whether the client was silenced by this connection's own first data: by the first packet it sent after it.

    On a busy machine that can come so late that all is over; then nothing was dropped, and the connection counts as one
    that was not blocked.
    """
    later = [(at_s, ok) for at_s, ok in since(connection.first_data(), passages(connection)) if at_s > 0]
    return any(not passed for at_s, passed in later if at_s < duration_s)


def test_share_of_blocked_connections_is_the_published_one(finished_run: FinishedRun) -> None:
    """26.3 per cent of 200 connections, within three standard deviations of what dice of that weight show."""
    run = finished_run("gfw-fet-share")
    duration_s = DURATION_S * run.result["time_scale"]
    seen = [
        was_cut_off(connection, duration_s)
        for family in FAMILIES
        for step in SHARE_STEPS
        for connection in run.connections(step, family)
    ]
    count = len(seen)
    assert count == 200
    deviation = (PROBABILITY * (1 - PROBABILITY) / count) ** 0.5
    assert abs(seen.count(True) / count - PROBABILITY) < 3 * deviation
