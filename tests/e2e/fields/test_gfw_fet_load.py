"""A table that is full, on the wire: who is cut off, and until when, against Wu23 figure 2."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Run
from tests.e2e.fields.silence import passages
from tests.property.wu23_algorithm_1 import exemptions

DURATION_S = 180.0
ROOM, TRIGGERS = 12, 20
"""Three in five, as of the 500 ports of Wu23 three in five lasted their full time."""
SLACK_S = 1.0
"""For a busy machine: the kernel hears of a sentence so long after it was passed, at most (chosen)."""

SYN_EVERY_S = 0.3
"""So often each client tries."""

Key = tuple[bytes, bytes, int]


def triggers(run: Run) -> list[tuple[int, Key]]:
    """When each client set the box off, by the capture on its side, and from what he is cut off; in that order."""
    found = []
    for family in FAMILIES:
        for step in steps(run):
            connection = run.connection(step, family)
            first = connection.first_data()
            assert exemptions(first.packet.payload) == set()
            ends = connection.ends
            found.append((first.time_ns, (ends.client, ends.server, ends.server_port)))
    return sorted(found)


def steps(run: Run) -> list[str]:
    [world] = [w for w in run.result["worlds"] if w["name"] == "scenario"]
    names = [step["step"] for step in world["plays"][0]["steps"]]
    return [name for name in names if not name.startswith("syns-")]


def sentences(run: Run) -> list[tuple[Key, int, int]]:
    """(who, from when, until when): three minutes, scaled, or until a dozen others have come."""
    found = triggers(run)
    length_ns = int(DURATION_S * run.result["time_scale"] * 1e9)
    pushed_out = [at_ns for at_ns, _ in found[ROOM:]] + [2**63] * ROOM
    return [
        (key, at_ns, min(at_ns + length_ns, gone_ns))
        for (at_ns, key), gone_ns in zip(found, pushed_out, strict=True)
    ]


def syns(run: Run) -> Iterator[tuple[Key, int, bool]]:
    """Who sent it, when, and whether it passed."""
    for family in FAMILIES:
        for step in steps(run):
            connection = run.connection(f"syns-{step}", family)
            ends = connection.ends
            for seen, passed in passages(connection):
                if seen.flags == "S":
                    yield (ends.client, ends.server, ends.server_port), seen.time_ns, passed


def test_first_ones_are_free_as_soon_as_there_is_no_room_for_them(finished_run: FinishedRun) -> None:
    """SYNs are lost while somebody is among the last dozen, for three minutes at most; before and after they pass."""
    run = finished_run("gfw-fet-load")
    ends = {key: (begin_ns, end_ns) for key, begin_ns, end_ns in sentences(run)}
    assert len(ends) == TRIGGERS
    tried: dict[Key, dict[str, set[bool]]] = {key: {"in": set(), "out": set()} for key in ends}
    for key, at_ns, passed in syns(run):
        begin_ns, end_ns = ends[key]
        inside = begin_ns + SLACK_S * 1e9 < at_ns < end_ns - SLACK_S * 1e9
        outside = not begin_ns - SLACK_S * 1e9 < at_ns < end_ns + SLACK_S * 1e9
        if inside or outside:
            tried[key]["in" if inside else "out"].add(passed)
    assert all(found["out"] == {True} for found in tried.values())
    assert all(found["in"] <= {False} for found in tried.values())
    assert sum(found["in"] == {False} for found in tried.values()) >= ROOM


def free_again(run: Run) -> Iterator[tuple[float, float]]:
    """In the order in which they set the box off, by the captures: (seconds until the last SYN that was lost, until the
    first one behind it that passed); (0, seconds until the first SYN that passed) where none was lost."""
    tried = list(syns(run))
    for start_ns, key in triggers(run):
        mine = [(at_ns, ok) for who, at_ns, ok in tried if who == key and at_ns > start_ns + SLACK_S * 1e9]
        lost_ns = max((at_ns for at_ns, ok in mine if not ok), default=start_ns)
        free_ns = min(at_ns for at_ns, ok in mine if ok and at_ns > lost_ns)
        yield (lost_ns - start_ns) / 1e9, (free_ns - start_ns) / 1e9


def test_three_in_five_last_three_minutes_and_the_others_far_less(finished_run: FinishedRun) -> None:
    """Of 500 two in five were free after a fraction of the time (Wu23); here those who came first are."""
    run = finished_run("gfw-fet-load")
    full_s = DURATION_S * run.result["time_scale"]
    found = list(free_again(run))
    apart_s = 2 * SYN_EVERY_S
    for lost_s, free_s in found[TRIGGERS - ROOM :]:
        assert full_s - apart_s - SLACK_S < lost_s < full_s + SLACK_S
        assert full_s - SLACK_S < free_s
    for lost_s, free_s in found[: TRIGGERS - ROOM]:
        assert lost_s < full_s - SLACK_S
        assert free_s < full_s - SLACK_S


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_forged(family: int, finished_run: FinishedRun) -> None:
    """It only drops."""
    run = finished_run("gfw-fet-load")
    for step in steps(run):
        connection = run.connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
