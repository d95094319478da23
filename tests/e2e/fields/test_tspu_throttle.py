"""TSPU's throttling on the wire, against Thr21 (catalogue section 7): the rate by what came through."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.silence import Passages, assert_all_pass, passages

LOW, HIGH = 130_000, 150_000
IDLE_S = 600.0
FIRST = (
    "hundred-bytes-first",
    "tls-first",
    "connect-first",
    "proxied-get-first",
    "socks4-first",
    "socks5-first",
)
TOLERANCE = 0.06
"""Of a rate measured over two seconds in packets of a kilobyte: one packet more or less is three per cent."""

everywhere = pytest.mark.parametrize("family", FAMILIES)


def bulk(found: Passages) -> Passages:
    """The packets of 1000 bytes, in order."""
    return [(seen, passed) for seen, passed in found if len(seen.packet.payload) == 1000]


def assert_slow(found: Passages) -> None:
    """Of what comes faster than 150 kbit/s a good part is dropped."""
    assert [passed for _, passed in bulk(found)].count(False) > 10


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
    """After FIN and RST as slow as before, and after nine minutes without a packet; after eleven everything passes."""
    run = finished_run("tspu-throttle")
    idle_s = IDLE_S * run.result["time_scale"]
    found = passages(run.connection("up", family))
    flags = [seen.flags for seen, _ in found]
    after_rst = bulk(found)[100:140]
    assert ("FA" in flags, "R" in flags) == (True, True)
    assert [passed for _, passed in after_rst].count(False) > 10
    later = next(seen for seen, _ in found if seen.time_ns > after_rst[-1][0].time_ns)
    assert idle_s < (later.time_ns - after_rst[-1][0].time_ns) / 1e9 < 1.5 * idle_s
    assert_all_pass(bulk(found)[140:])
    silent = passages(run.connection("short-silence", family))
    hello, later = silent[0][0], silent[1][0]
    assert 0.9 * idle_s <= (later.time_ns - hello.time_ns) / 1e9 < idle_s
    assert_slow(silent)


@everywhere
@pytest.mark.parametrize(
    "step",
    ["gives-up", "two-segments", "two-records", "name-as-protocol", "too-late", "from-outside", "fast"],
)
def test_connection_is_not_slowed_down(step: str, family: int, finished_run: FinishedRun) -> None:
    """Something else of more than 100 bytes first, a name in two segments, in two records, elsewhere or too late, or
    opened from outside."""
    connection = finished_run("tspu-throttle").connections(step, family)[0]
    assert_all_pass(passages(connection))
    if step != "fast":
        assert len(bulk(passages(connection))) >= 25


@everywhere
@pytest.mark.parametrize("step", ["short-packets-first", "hello-from-outside", *FIRST])
def test_connection_is_slowed_down(step: str, family: int, finished_run: FinishedRun) -> None:
    """Nine short packets first, 100 random bytes, TLS, a proxy's request or SOCKS change nothing, and the ClientHello
    may come from either end."""
    assert_slow(passages(finished_run("tspu-throttle").connections(step, family)[0]))


def test_first_packets_are_those_of_the_catalogue(finished_run: FinishedRun) -> None:
    """100 bytes of something else, and 101; what is more than that begins as TLS, HTTP proxy and SOCKS do."""
    run = finished_run("tspu-throttle")
    said = {step: run.connection(step, 4).first_data().packet.payload for step in ("gives-up", *FIRST)}
    assert (len(said.pop("gives-up")), len(said.pop("hundred-bytes-first"))) == (101, 100)
    assert {step: len(first) > 100 and first[:3] for step, first in said.items()} == {
        "tls-first": b"\x16\x03\x01", "connect-first": b"CON", "proxied-get-first": b"GET",
        "socks4-first": b"\x04\x01\x01", "socks5-first": b"\x05\x64\x00",
    }  # fmt: skip


@pytest.mark.parametrize(("step", "packets"), [("short-packets-first", 9), ("too-late", 10)])
def test_tenth_packet_is_the_last_that_is_looked_at(
    step: str, packets: int, finished_run: FinishedRun
) -> None:
    """The name is in the tenth packet with data, or in the eleventh: of 3 to 15 in the original, ten (chosen)."""
    run = finished_run("tspu-throttle")
    for family in FAMILIES:
        said = [p.payload for p in run.connection(step, family).genuine("client") if p.payload]
        assert [b"blocked.example" in payload for payload in said[: packets + 1]] == [
            *[False] * packets,
            True,
        ]


def test_two_records_carry_the_whole_name_in_one_segment(finished_run: FinishedRun) -> None:
    """A ClientHello cut into records of 20 bytes and the rest: only who puts records together reads it (Thr21)."""
    run = finished_run("tspu-throttle")
    said = run.connection("two-records", 4).first_data().packet.payload
    assert (said[:5], said[25:28]) == (b"\x16\x03\x01\x00\x14", b"\x16\x03\x01")
    assert b"\x00\x0fblocked.example" in said
    other = run.connection("name-as-protocol", 4).first_data().packet.payload
    assert other.count(b"\x00\x10\x00\x12\x00\x10\x0fblocked.example") == 1


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
