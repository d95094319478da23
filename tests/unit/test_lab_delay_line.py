"""lab/delay_line.py: when a packet arrives at the other end of a wire."""

from __future__ import annotations

import random
from dataclasses import asdict

from hypothesis import given, strategies as st

from lab.delay_line import Direction
from lab.link import LinkSpec

MS = 1_000_000


def direction(spec: LinkSpec, *, seed: int = 7) -> Direction:
    """One direction of such a link."""
    return Direction(asdict(spec), random.Random(seed))


def test_delay_is_added_to_the_time_of_arrival() -> None:
    """A wire of 5 ms: five milliseconds later."""
    assert direction(LinkSpec(delay_ns=5 * MS)).due_ns(1000, 0) == 1000 + 5 * MS


def test_rate_is_the_time_that_each_bit_takes_and_packets_wait_for_each_other() -> None:
    """1000 bytes at 8 Mbit/s take 1 ms; the second of two waits for the first; an idle wire owes nothing."""
    wire = direction(LinkSpec(delay_ns=5 * MS, rate_bits=8_000_000))
    assert wire.needs_length
    assert [wire.due_ns(0, 1000), wire.due_ns(0, 1000)] == [6 * MS, 7 * MS]
    assert wire.due_ns(100 * MS, 500) == 105 * MS + MS // 2


def test_loss_is_the_same_for_the_same_seed() -> None:
    """A run can be repeated, and about the asked-for share is lost."""
    fates = [[direction(LinkSpec(loss=0.25)).due_ns(0, 0) for _ in range(1)] for _ in range(2)]
    assert fates[0] == fates[1]
    wires = direction(LinkSpec(loss=0.25)), direction(LinkSpec(loss=0.25))
    lost = [[wire.due_ns(now, 0) is None for now in range(1000)] for wire in wires]
    assert lost[0] == lost[1]
    assert 180 < sum(lost[0]) < 320, "five standard deviations"
    assert all(direction(LinkSpec(loss=1.0)).due_ns(now, 0) is None for now in range(10))


@given(
    arrivals=st.lists(st.tuples(st.integers(0, 20 * MS), st.integers(20, 65_535)), max_size=50),
    jitter_ns=st.integers(0, 10 * MS),
    rate_bits=st.none() | st.integers(10_000, 10**10),
)
def test_order_is_kept_and_no_packet_is_early(
    arrivals: list[tuple[int, int]], jitter_ns: int, rate_bits: int | None
) -> None:
    """Whatever the jitter and the rate: due times never decrease, and none is before the least delay."""
    wire = direction(LinkSpec(delay_ns=10 * MS, jitter_ns=jitter_ns, rate_bits=rate_bits))
    now_ns, last_ns = 0, 0
    for pause_ns, length in arrivals:
        now_ns += pause_ns
        due_ns = wire.due_ns(now_ns, length)
        assert due_ns is not None
        assert due_ns >= now_ns + 10 * MS - jitter_ns
        assert due_ns >= last_ns
        last_ns = due_ns


def test_reorder_lets_a_share_overtake() -> None:
    """Some packets are not delayed at all and so arrive before those ahead of them; the rest keep their order."""
    wire = direction(LinkSpec(delay_ns=5 * MS, reorder=0.25))
    due = {now: wire.due_ns(now, 0) for now in range(1000)}
    overtaking = [now for now in due if due[now] == now]
    assert 150 < len(overtaking) < 350
    assert all(due[now] == now + 5 * MS for now in due if now not in set(overtaking))
