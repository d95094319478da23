"""TSPU's throttling on the wire, against Thr21 (catalogue section 7): the rate by what came through."""

from __future__ import annotations

import pytest

from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.silence import Passages, assert_all_pass, passages

LOW, HIGH = 130_000, 150_000
IDLE_S = 600.0
TOLERANCE = 0.06
"""Of a rate measured over two seconds in packets of a kilobyte: one packet more or less is three per cent."""

everywhere = pytest.mark.parametrize("family", FAMILIES)


def bulk(found: Passages) -> Passages:
    """The packets of 1000 bytes, in order."""
    return [(seen, passed) for seen, passed in found if len(seen.packet.payload) == 1000]


def rate_of(found: Passages) -> float:
    """Bits per second of IP packets that passed, from the first one that was dropped on."""
    first = next(n for n, (_, passed) in enumerate(found) if not passed)
    steady = found[first:]
    seconds = (steady[-1][0].time_ns - steady[0][0].time_ns) / 1e9
    return sum(len(seen.packet.data) for seen, passed in steady if passed) * 8 / seconds


@everywhere
@pytest.mark.parametrize("step", ["up", "down"])
def test_rate_that_comes_through_is_the_published_one(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """Of 416 kbit/s, 130 to 150 come through, in each direction; what is faster is dropped, not held back."""
    found = bulk(passages(finished_run("tspu-throttle").connections(step, family)[0]))[:100]
    assert len(found) == 100
    offered = (
        sum(len(seen.packet.data) for seen, _ in found) * 8e9 / (found[-1][0].time_ns - found[0][0].time_ns)
    )
    assert offered > 2 * HIGH
    assert LOW * (1 - TOLERANCE) < rate_of(found) < HIGH * (1 + TOLERANCE)


@everywhere
def test_fin_and_rst_do_not_end_it_and_silence_does(finished_run: FinishedRun, family: int) -> None:
    """After FIN and RST as slow as before; after ten minutes without a packet, scaled, everything passes."""
    run = finished_run("tspu-throttle")
    found = passages(run.connection("up", family))
    flags = [seen.flags for seen, _ in found]
    after_rst = bulk(found)[100:140]
    assert ("FA" in flags, "R" in flags) == (True, True)
    assert [passed for _, passed in after_rst].count(False) > 10
    pause = (bulk(found)[140][0].time_ns - after_rst[-1][0].time_ns) / 1e9
    assert pause > IDLE_S * run.result["time_scale"]
    assert_all_pass(bulk(found)[140:])


@everywhere
@pytest.mark.parametrize("step", ["gives-up", "two-segments", "too-late", "from-outside", "fast"])
def test_connection_is_not_slowed_down(step: str, family: int, finished_run: FinishedRun) -> None:
    """Something else of more than 100 bytes first, a name in two segments or too late, or opened from outside."""
    connection = finished_run("tspu-throttle").connections(step, family)[0]
    assert_all_pass(passages(connection))
    if step != "fast":
        assert len(bulk(passages(connection))) >= 40


@everywhere
@pytest.mark.parametrize("step", ["short-packets-first", "hello-from-outside"])
def test_connection_is_slowed_down(step: str, family: int, finished_run: FinishedRun) -> None:
    """Short packets first change nothing, and the ClientHello may come from either end."""
    found = bulk(passages(finished_run("tspu-throttle").connections(step, family)[0]))
    assert [passed for _, passed in found].count(False) > 10


@everywhere
def test_real_connection_is_slow_both_ways_and_nothing_is_injected(
    finished_run: FinishedRun, family: int
) -> None:
    """20 kB there and back take longer than they could at 150 kbit/s, and packets of both ends were dropped."""
    run = finished_run("tspu-throttle")
    [connection] = run.connections("slow", family)
    for sender in ("client", "server"):
        assert False in {passed for _, passed in passages(connection, sender)}
    assert connection.forged("client") + connection.forged("server") == []
    assert run.step("slow", family)["seconds"] > 2 * (20_000 - 4096) * 8 / HIGH * 0.5
    assert run.step("fast", family)["seconds"] < run.step("slow", family)["seconds"]
