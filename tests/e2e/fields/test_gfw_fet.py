"""The Great Firewall's silence after fully encrypted traffic on the wire, against Wu23 (catalogue 2.1, 2.2, 3)."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection
from tests.e2e.fields.silence import assert_all_pass, passages, since
from tests.property.wu23_algorithm_1 import exemptions

DURATION_S, OTHER_DURATION_S, IDLE_S = 180.0, 120.0, 300.0
PROBABILITY = 0.263
WIDE_SLACK_S = 0.3
"""In which a busy machine may judge a packet later than it was captured (chosen); 20 s by the box's clock."""
EXEMPT = ("six-printable", "half-printable", "long-run", "few-bits", "many-bits", "like-tls", "like-http")
SHARE_STEPS = ("first", "second", "third", "fourth")


def assert_silent_until(end_s: float, found: list[tuple[float, bool]]) -> None:
    """Nothing passes from the start until then, everything after it; and both were tried."""
    assert {passed for at_s, passed in found if WIDE_SLACK_S < at_s < end_s - WIDE_SLACK_S} == {False}
    assert {passed for at_s, passed in found if at_s > end_s + WIDE_SLACK_S} == {True}


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
    assert_all_pass(passages(run.connection("before", family)))
    for step, flags in (("syns", "S"), ("resets", "R")):
        later = [p for p in passages(run.connection(step, family)) if p[0].flags == flags]
        assert_silent_until(end_s, since(trigger, later))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("step", "port", "duration_s"), [("port-443", 443, DURATION_S), ("two-minutes", 7000, OTHER_DURATION_S)]
)
def test_client_is_cut_off_on_any_port_for_three_minutes_or_two(
    step: str, port: int, duration_s: float, finished_run: FinishedRun, family: int
) -> None:
    """Both times were measured; here the second one is that of another subscriber, and neither starts anew."""
    run = finished_run("gfw-fet")
    connection = run.connection(step, family)
    assert connection.ends.server_port == port
    trigger = connection.first_data()
    assert exemptions(trigger.packet.payload) == set()
    sent = passages(connection)
    assert {passed for seen, passed in sent if seen.time_ns <= trigger.time_ns} == {True}
    syns = since(trigger, [p for p in sent if p[0].flags == "S" and p[0].time_ns > trigger.time_ns])
    assert_silent_until(duration_s * run.result["time_scale"], syns)


@pytest.mark.parametrize("family", FAMILIES)
def test_five_minutes_between_handshake_and_data_change_nothing(
    finished_run: FinishedRun, family: int
) -> None:
    """The box still knows of the handshake (Wu23 4.5): the data pass, and what comes after them does not."""
    run = finished_run("gfw-fet")
    connection = run.connection("five-minutes-later", family)
    trigger = connection.first_data()
    *_, acknowledged = [s for s in connection.seen_genuine("client") if s.time_ns < trigger.time_ns]
    waited_s = (trigger.time_ns - acknowledged.time_ns) / 1e9
    assert waited_s > IDLE_S * run.result["time_scale"]
    later = [(at_s, ok) for at_s, ok in since(trigger, passages(connection)) if at_s > 0]
    end_s = DURATION_S * run.result["time_scale"]
    assert {passed for at_s, passed in later if WIDE_SLACK_S < at_s < end_s - WIDE_SLACK_S} == {False}


@pytest.mark.parametrize("family", FAMILIES)
def test_server_and_udp_and_other_ports_go_on(finished_run: FinishedRun, family: int) -> None:
    """What the server sends passes, so do datagrams to the same port, and all to another one or to that port of another
    server; nothing is injected."""
    run = finished_run("gfw-fet")
    encrypted = run.connection("encrypted", family)
    assert_all_pass(passages(encrypted, "server"))
    end_ns = encrypted.first_data().time_ns + DURATION_S * run.result["time_scale"] * 1e9
    for step in ("udp", "other-port", "other-server"):
        connections = run.connections(step, family)
        assert_all_pass(*map(passages, connections))
        assert [s for c in connections for s in c.seen_genuine("client") if s.time_ns < end_ns]
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
