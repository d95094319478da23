"""The Great Firewall's silence after a name in QUIC on the wire, against QUIC25 (catalogue 2.1, 2.3, 4.3)."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, Run
from tests.e2e.fields.silence import SLACK_S, assert_all_pass, passages, since
from tests.e2e.fields.two_ends import tshark

DURATION_S, STATE_S = 180.0, 60.0
LEAST_LAG_S, MOST_LAG_S = 0.0586, 7.519
QUANTILES_S = {0.05: 0.0795, 0.25: 0.0995, 0.50: 0.1097, 0.75: 0.1396, 0.95: 0.5887}
VERSION_2 = bytes.fromhex("6b3343cf")
"""RFC 9369 3.1"""

everywhere = pytest.mark.parametrize("family", FAMILIES)


def is_initial(datagram: bytes) -> bool:
    """A long header of version 1, type Initial (RFC 9000 17.2.2)."""
    return datagram[0] & 0xF0 == 0xC0 and datagram[1:5] == b"\0\0\0\1"


def cut_off_after_s(connection: Connection) -> float:
    """Seconds from the first Initial to the last datagram of the client that got through before one that did not."""
    sent = since(connection.first_data(), passages(connection))
    first_lost = next(n for n, (_, passed) in enumerate(sent) if not passed)
    return sent[first_lost - 1][0]


@everywhere
@pytest.mark.parametrize("step", ["name", "hidden-too-early"])
def test_initial_passes_and_later_datagrams_do_not(step: str, family: int, finished_run: FinishedRun) -> None:
    """The server gets the Initial and answers; what the client sends after a while is lost; nothing is injected."""
    run = finished_run("gfw-quic")
    connection = run.connection(step, family)
    initials = [(s, ok) for s, ok in passages(connection) if is_initial(s.packet.payload)]
    assert initials[0][1]
    assert connection.ends.client_port > connection.ends.server_port
    assert 0 <= cut_off_after_s(connection) <= MOST_LAG_S
    assert_all_pass(passages(connection, "server"))
    assert connection.forged("client") + connection.forged("server") == []
    assert run.outcome(step, family) == "timeout"


def silence(run: Run, family: int) -> tuple[list[bool], list[bool]]:
    """Datagrams from other ports: whether they passed in the silence, and after it."""
    start = run.connection("name", family).first_data()
    end_s = DURATION_S * run.result["time_scale"]
    sent = [
        p
        for step in ("datagrams", "afterwards")
        for c in run.connections(step, family)
        for p in since(start, passages(c))
    ]
    lag_s = cut_off_after_s(run.connection("name", family)) + 0.3
    during = [ok for at_s, ok in sent if lag_s + SLACK_S < at_s < end_s - SLACK_S]
    after = [ok for at_s, ok in sent if at_s > end_s + SLACK_S]
    return during, after


def looked_at_after_s(run: Run, name: Connection, connection: Connection) -> float:
    """Seconds from the name to the first datagram of a connection that was dropped, by the box's clock: where it is
    busy, a datagram waits for it, and is captured long before it is looked at."""

    def first_ns(kind: str, flow: str) -> int:
        return min(e["time_ns"] for e in run.events(kind) if e["flow"]["community_id"] == flow)

    named_ns = first_ns("residual_started", name.ends.community_id)
    return (first_ns("packet_dropped", connection.ends.community_id) - named_ns) / 1e9


@everywhere
def test_client_is_cut_off_from_this_server_and_port_for_three_minutes(
    finished_run: FinishedRun, family: int
) -> None:
    """Any datagram from any port of the client's, for 180 s, scaled."""
    during, after = silence(finished_run("gfw-quic"), family)
    assert set(during) == {False}
    assert set(after) == {True}


@everywhere
def test_what_the_client_sends_within_the_least_lag_gets_through(
    finished_run: FinishedRun, family: int
) -> None:
    """No datagram is lost sooner than 58.6 ms after the ClientHello, from its port or from another."""
    run = finished_run("gfw-quic")
    name = run.connection("name", family)
    others = [c for step in ("before", "datagrams") for c in run.connections(step, family)]
    early = [
        (passed, connection)
        for connection in (name, *others)
        for at_s, passed in since(name.first_data(), passages(connection))
        if at_s < LEAST_LAG_S - 0.01
    ]
    assert any(passed for passed, _ in early)
    for passed, connection in early:
        assert passed or looked_at_after_s(run, name, connection) >= LEAST_LAG_S


@everywhere
@pytest.mark.parametrize("step", ["tcp", "other-port", "other-server", "other-name", "afterwards"])
def test_others_are_let_alone(step: str, family: int, finished_run: FinishedRun) -> None:
    """TCP, other ports, servers and names."""
    assert_all_pass(*map(passages, finished_run("gfw-quic").connections(step, family)))


@everywhere
@pytest.mark.parametrize(("step", "port"), [("low-port", 300), ("same-port", 443)])
def test_port_that_is_not_above_the_servers_is_not_looked_at(
    step: str, port: int, family: int, finished_run: FinishedRun
) -> None:
    """Below it or the same: the name gets through."""
    connection = finished_run("gfw-quic").connection(step, family)
    assert (connection.ends.client_port, connection.ends.server_port) == (port, 443)
    assert is_initial(connection.first_data().packet.payload)
    assert_all_pass(passages(connection))


def opened(run: Run, connection: Connection) -> list[tuple[str, str, str]]:
    """(version, offset and length of CRYPTO) of the Initials that its client begins with, as Wireshark opens them."""
    shown = tshark(
        run.directory / "captures" / "box-inside.pcapng",
        f"udp.srcport == {connection.ends.client_port} and quic.crypto.offset",
        "-T", "fields", "-e", "quic.version", "-e", "quic.crypto.offset", "-e", "quic.crypto.length",
    )  # fmt: skip
    found = []
    for line in shown:
        version, offset, length = line.split("\t")
        found.append((version, offset, length))
    return found


@everywhere
def test_hello_in_two_initials_is_not_seen(family: int, finished_run: FinishedRun) -> None:
    """Neither datagrams nor CRYPTO frames are put together: a name in a longer hello gets through."""
    run = finished_run("gfw-quic")
    connection = run.connection("split-hello", family)
    offsets = [offset for _, offset, _ in opened(run, connection)]
    assert "0" in offsets
    assert [offset for offset in offsets if int(offset.split(",")[0]) > 0]
    assert_all_pass(passages(connection))


@everywhere
def test_version_2_is_not_opened(family: int, finished_run: FinishedRun) -> None:
    """Our choice: no source speaks of it. The name of `version-2` is the one of `name`, which is cut off."""
    run = finished_run("gfw-quic")
    connection = run.connection("version-2", family)
    assert connection.first_data().packet.payload[1:5] == VERSION_2
    assert_all_pass(passages(connection))


@everywhere
def test_state_of_a_flow_ends_after_a_minute(finished_run: FinishedRun, family: int) -> None:
    """A random datagram hides a name for 60 s, scaled: after 50 s it still does, after 70 s not any more."""
    run = finished_run("gfw-quic")
    state_s = STATE_S * run.result["time_scale"]
    waited = []
    for step in ("hidden-less", "hidden", "hidden-too-early"):
        connection = run.connection(step, family)
        first, second, *_ = connection.seen_genuine("client")
        assert (is_initial(first.packet.payload), is_initial(second.packet.payload)) == (False, True)
        waited_s = (second.time_ns - first.time_ns) / 1e9
        lost = not all(passed for _, passed in passages(connection))
        waited.append((waited_s, lost))
    assert all(lost == (waited_s > state_s) for waited_s, lost in waited if abs(waited_s - state_s) > SLACK_S)
    assert {True, False} == {lost for _, lost in waited}


def cut_off(run: Run, hour: str) -> int:
    """How many of the twelve connections of that hour were cut off."""
    found = [run.connection(f"{hour}-{number}", family) for family in FAMILIES for number in range(1, 7)]
    assert all(is_initial(c.first_data().packet.payload) for c in found)
    return sum(not all(passed for _, passed in passages(c)) for c in found)


def test_by_night_most_are_cut_off_and_by_day_few(finished_run: FinishedRun) -> None:
    """75.1 and 4.9 per cent of twelve: fewer than five by night, or more than three by day, come by chance once in 350
    times each."""
    run = finished_run("gfw-quic-hours")
    night, day = cut_off(run, "night"), cut_off(run, "day")
    assert night >= 5
    assert day <= 3


def lags_s(finished_run: FinishedRun) -> list[tuple[float, float]]:
    """Of each connection that was cut off: when the last datagram passed before one was lost, and when that came."""
    steps = [("gfw-quic", "name"), ("gfw-quic", "hidden-too-early")]
    steps += [("gfw-quic-hours", f"night-{number}") for number in range(1, 7)]
    found = []
    for slug, step in steps:
        for family in FAMILIES:
            connection = finished_run(slug).connection(step, family)
            hello = next(s for s in connection.seen_genuine("client") if is_initial(s.packet.payload))
            sent = [(at_s, ok) for at_s, ok in since(hello, passages(connection)) if at_s >= 0]
            lost = next((n for n, (_, passed) in enumerate(sent) if not passed), None)
            if lost is not None:
                found.append((sent[lost - 1][0], sent[lost][0]))
    return found


def test_client_is_cut_off_as_late_as_published(finished_run: FinishedRun) -> None:
    """By each quantile (catalogue 2.3) no more are cut off, and behind it no more are not, than chance allows."""
    lags = lags_s(finished_run)
    count = len(lags)
    assert count >= 6
    for share, quantile_s in QUANTILES_S.items():
        by_chance = 3 * (count * share * (1 - share)) ** 0.5
        assert sum(lost_s < quantile_s - 0.02 for _, lost_s in lags) <= count * share + by_chance
        assert sum(passed_s > quantile_s + 0.02 for passed_s, _ in lags) <= count * (1 - share) + by_chance
