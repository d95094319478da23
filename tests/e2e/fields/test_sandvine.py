"""Sandvine's pairs on the wire, against Weaver09 (catalogue section 6)."""

from __future__ import annotations

from statistics import median

import pytest

from middlebox.packet import flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, assert_bare

AHEAD = 12_503
ROUND_TRIP_S = 0.03
"""To the client and back, on the scenario's access link: what waits for an answer takes longer."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["bittorrent", "two-segments"])
def test_sandvine_pair_has_its_offset_and_ip_ids(step: str, family: int, finished_run: FinishedRun) -> None:
    """Two RSTs at either end: the second 12,503 ahead, IP IDs 4 and 5 behind the packet they answer."""
    for connection in finished_run("sandvine").connections(step, family):
        trigger = [p for p in connection.genuine("client") if p.payload][int(step == "two-segments")]
        expected = {"client": trigger.ack, "server": trigger.seq + len(trigger.payload)}
        for towards in ("client", "server"):
            pair = connection.forged(towards)
            assert_bare(pair)
            assert [flag_letters(p.flags) for p in pair] == ["R", "R"]
            assert [(p.seq - expected[towards]) & 0xFFFFFFFF for p in pair] == [0, AHEAD]
            if family == 4:
                assert trigger.ip_id is not None
                assert [p.ip_id for p in pair] == [(trigger.ip_id + n) % 65536 for n in (4, 5)]


@pytest.mark.parametrize("family", FAMILIES)
def test_sandvine_pairs_are_back_to_back(family: int, finished_run: FinishedRun) -> None:
    """Nothing is between the two, and no time passes, in most of the pairs: in others the machine may stand still."""
    between, apart_s = [], []
    for connection in finished_run("sandvine").connections("bittorrent", family):
        for towards, side in (("client", connection.inside), ("server", connection.outside)):
            pair = connection.seen_forged(towards)
            to_there = [seen for seen in side if seen.packet.dst == pair[0].packet.dst]
            first, second = (n for n, seen in enumerate(to_there) if seen.forged)
            between.append(second - first - 1)
            apart_s.append((pair[1].time_ns - pair[0].time_ns) / 1e9)
    assert median(between) == 0
    assert median(apart_s) < ROUND_TRIP_S / 3


@pytest.mark.parametrize("family", FAMILIES)
def test_sandvine_resets_come_from_neither_end(finished_run: FinishedRun, family: int) -> None:
    """Both ends have been reset, and no RST of an end's own came before (EFF)."""
    for connection in finished_run("sandvine").connections("bittorrent", family):
        for towards, sender in (("client", "server"), ("server", "client")):
            forged = connection.seen_forged(towards)[0]
            own = [s for s in connection.seen_genuine(sender) if "R" in s.flags]
            assert all(forged.time_ns < s.time_ns for s in own)


@pytest.mark.parametrize("step", ["web", "tls"])
def test_sandvine_lets_others_alone(step: str, finished_run: FinishedRun) -> None:
    """The web is not BitTorrent."""
    for family in FAMILIES:
        connection = finished_run("sandvine").connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
