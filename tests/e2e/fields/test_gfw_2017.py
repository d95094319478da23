"""Type 1 and type 2 of 2017 on the wire, against Wang17 and INTANG (catalogue sections 1, 2.1 and 3)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from middlebox.packet import RST, SYN, Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, assert_bare

RESIDUAL_S = 90 * 0.05
"""By the clock of the box, which the scenario makes faster."""
OVERLOOKED = 0.028
WITHIN = 2
"""Connections: the dice are the same in every run, and such that the share comes out (the scenario's seed)."""
SHARES = tuple(f"from-sim{number}" for number in range(1, 13))
TRIGGERS = ("http", "two-segments", "imap", "dns-over-tcp", "openvpn")
FIRST, SECOND = ["R"], ["RA", "RA", "RA"]

everywhere = pytest.mark.parametrize("family", FAMILIES)


def by_flags(connection: Connection, towards: str, flags: str) -> list[Packet]:
    return [p for p in connection.forged(towards) if flag_letters(p.flags) == flags]


def trigger_of(connection: Connection, step: str) -> Packet:
    return [p for p in connection.genuine("client") if p.payload][int(step == "two-segments")]


def in_threes(connection: Connection, towards: str) -> list[list[Packet]]:
    """What the second injector sent, answer by answer."""
    found = by_flags(connection, towards, "RA")
    assert len(found) % 3 == 0
    return [found[n : n + 3] for n in range(0, len(found), 3)]


@everywhere
def test_gfw_2017_first_injector_is_one_rst_with_random_ttl_and_window(
    finished_run: FinishedRun, family: int
) -> None:
    """One RST for a request in one packet; fragment field 0, window never 0, TTLs that differ."""
    run = finished_run("gfw-2017")
    seen: list[Packet] = []
    for step in ("http", "imap", "dns-over-tcp", "openvpn"):
        connection = run.connection(step, family)
        trigger = trigger_of(connection, step)
        for towards, seq in (("client", trigger.ack), ("server", trigger.seq + len(trigger.payload))):
            first = connection.forged(towards)[0]
            assert (flag_letters(first.flags), first.seq) == ("R", seq)
            seen.append(first)
    assert_bare(seen)
    assert all(p.window for p in seen)
    assert len({p.ttl for p in seen}) > 1
    assert len({p.window for p in seen}) > 1
    if family == 4:
        assert {p.dont_fragment for p in seen} == {False}


@pytest.mark.parametrize("step", TRIGGERS)
@everywhere
def test_gfw_2017_answers_are_one_and_three(family: int, step: str, finished_run: FinishedRun) -> None:
    """A RST and three RST+ACK, no more and no fewer, to a packet and to each later one; of two segments only three."""
    connection = finished_run("gfw-2017").connection(step, family)
    for towards in ("client", "server"):
        flags = [seen.flags for seen in connection.seen_forged(towards)]
        begins = SECOND if step == "two-segments" else FIRST + SECOND
        later = len(flags[len(begins) :]) // 4
        assert flags == begins + (FIRST + SECOND) * later


@pytest.mark.parametrize("step", TRIGGERS)
@everywhere
def test_gfw_2017_second_injector_counts(family: int, step: str, finished_run: FinishedRun) -> None:
    """Three RST+ACK at X, X+1460 and X+4380; window and TTL go up from packet to packet and round."""
    connection = finished_run("gfw-2017").connection(step, family)
    trigger = trigger_of(connection, step)
    expected = {"client": trigger.ack, "server": trigger.seq + len(trigger.payload)}
    for towards in ("client", "server"):
        answers = in_threes(connection, towards)
        assert [p.seq - expected[towards] for p in answers[0]] == [0, 1460, 4380]
        for three in answers:
            assert_bare(three)
            assert [p.seq - three[0].seq for p in three] == [0, 1460, 4380]
            assert len({p.ttl for p in three}) == 3  # INTANG: more than one TTL within two seconds
            assert_goes_up(three)


def assert_goes_up(packets: list[Packet], *, most: int = 1) -> None:
    """From packet to packet by a step, or by `most` steps; at the end both begin anew, and the window is never 0."""
    for one, next_one in pairwise(packets):
        assert 0 < (next_one.window - one.window) % 65536 <= 2 * most
        assert 0 < (next_one.ttl - one.ttl) % 128 <= most
    assert all(p.window for p in packets)


def test_gfw_2017_window_and_ttl_go_round(finished_run: FinishedRun) -> None:
    """Cyclically increasing (Wang17): in a long run both come to their end and begin anew, the TTL many times."""
    run = finished_run("gfw-2017-share")
    threes = [
        three
        for step in SHARES
        for family in FAMILIES
        for connection in run.connections(step, family)
        for towards in ("client", "server")
        for three in in_threes(connection, towards)
    ]
    for three in threes:
        assert_goes_up(three)
    assert sum(three[2].ttl < three[0].ttl for three in threes) > 1
    windows = {p.window for three in threes for p in three}
    assert min(windows) < 1000 < 65000 < max(windows)


@everywhere
@pytest.mark.parametrize("step", ["punished", "punished-on-every-port", "from-outside"])
def test_gfw_2017_residual_is_by_hosts_and_spoils_handshakes(
    finished_run: FinishedRun, step: str, family: int
) -> None:
    """Between two hosts on every port, whoever begins: a SYN gets a SYN+ACK with a wrong number, all else resets."""
    connection = finished_run("gfw-2017").connection(step, family)
    assert connection.client_is_inside == (step != "from-outside")
    false = by_flags(connection, "client", "SA")
    assert len(false) == len([s for s in connection.seen_genuine("client") if s.flags == "S"])
    assert {p.ack for p in false} == {connection.isn("client") + 1}
    assert not {p.seq for p in false} & {p.seq for p in connection.genuine("server") if p.flags & SYN}
    assert by_flags(connection, "server", "SA") == []
    for towards in ("client", "server"):
        flags = [seen.flags for seen in connection.seen_forged(towards) if seen.flags != "SA"]
        assert flags
        assert flags == (FIRST + SECOND) * (len(flags) // 4)


@everywhere
def test_gfw_2017_residual_answers_the_servers_syn_ack_too(finished_run: FinishedRun, family: int) -> None:
    """Every packet of either end but SYN and RST gets both answers, the server's own SYN+ACK as well."""
    run = finished_run("gfw-2017")
    for step in ("punished", "punished-on-every-port"):
        connection = run.connection(step, family)
        answered = [s for s in connection.seen_forged("server") if s.flags == "R"]
        others = [
            s
            for end in ("client", "server")
            for s in connection.seen_genuine(end)
            if s.flags != "S" and not s.packet.flags & RST
        ]
        assert len(answered) == len(others)
        assert "SA" in {s.flags for s in others}


@everywhere
def test_gfw_2017_residual_lasts_90_seconds_whatever_comes(finished_run: FinishedRun, family: int) -> None:
    """Of SYNs all along those are answered that come up to 90 s after the request, however many came in between."""
    connection = finished_run("gfw-2017").connection("all-along", family)
    request = connection.first_data()
    began_ns = connection.seen_forged("client")[0].time_ns
    answers = [s.packet for s in connection.seen_forged("client") if s.flags == "SA"]
    answered = {(p.ack - 1) & 0xFFFFFFFF for p in answers}
    assert len(answered) == len(answers)
    syns = [s for s in connection.seen_genuine("client") if s.flags == "S"]
    hit = [s for s in syns if s.packet.seq in answered]
    assert len(hit) == len(answers)
    assert min(s.time_ns for s in syns) < request.time_ns < min(s.time_ns for s in hit)
    # A SYN comes to the box before it is judged, and the request is judged before it is answered.
    lasted_s = (hit[-1].time_ns - began_ns) / 1e9
    assert 0.9 * RESIDUAL_S < lasted_s < RESIDUAL_S
    late = [s for s in syns if s.time_ns > hit[-1].time_ns]
    assert len(late) >= 5
    assert len(hit) >= 0.9 * len([s for s in syns if began_ns < s.time_ns <= hit[-1].time_ns])


@everywhere
def test_gfw_2017_false_syn_acks_are_the_second_injectors(finished_run: FinishedRun, family: int) -> None:
    """Type 2: window and TTL go up from one SYN+ACK to the next, and no window is 0; each has another wrong number."""
    connection = finished_run("gfw-2017").connection("all-along", family)
    false = by_flags(connection, "client", "SA")
    assert_bare(false)
    assert len({p.seq for p in false}) == len(false)
    assert_goes_up(false, most=20)  # other hosts are punished at the same time


@everywhere
def test_gfw_2017_leaves_others_alone(finished_run: FinishedRun, family: int) -> None:
    """Other words, other hosts, and the same ones when it is over."""
    run = finished_run("gfw-2017")
    for step in ("other-server", "other-client", "forgiven", "other-word"):
        connection = run.connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []


@everywhere
def test_gfw_2017_cannot_discard(finished_run: FinishedRun, family: int) -> None:
    """On-path: the request reaches the server all the same."""
    run = finished_run("gfw-2017")
    connection = run.connection("http", family)
    assert any(b"ultrasurf" in p.payload for p in run.at_host("web", connection))


def test_gfw_2017_overlooks_as_many_as_published(finished_run: FinishedRun) -> None:
    """2.8 per cent of the requests get their page, and nothing is forged; to all others both injectors speak."""
    run = finished_run("gfw-2017-share")
    looked_at = run.flows_matched("notice-sensitive-request")
    overlooked, count = 0, 0
    for connection in (
        one for family in FAMILIES for step in SHARES for one in run.connections(step, family)
    ):
        forged = connection.forged("client")
        assert {flag_letters(p.flags) for p in forged} in (set(), {"R", "RA"})
        if (connection.ends.client, connection.ends.client_port) not in looked_at:
            continue
        count += 1
        overlooked += not forged
        if not forged:
            assert connection.forged("server") == []
            assert connection.first_data("server").packet.payload.startswith(b"HTTP/1.1 200 ")
    assert 380 < count <= 480
    assert abs(overlooked - OVERLOOKED * count) <= WITHIN
