"""A token bucket: what gets through in a time is what the rate says."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, strategies as st

from middlebox.decision import Offload, Verdict
from middlebox.flow import Direction
from middlebox.look import Constant
from middlebox.policer import Policer
from middlebox.profile import Placement, Throttle
from tests.unit.talk import SECOND_NS, Talk, engine_for, kinds, rule

TO_SERVER, TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
BOTH = (TO_SERVER, TO_CLIENT)


def policer(rate: int = 140_000, burst: int = 5_000, directions: tuple[Direction, ...] = BOTH) -> Policer:
    return Policer(rule("tcp"), rate, burst, directions, 0)


@pytest.mark.parametrize("size", [40, 1500, 4999])
def test_rate_holds_over_a_minute(size: int) -> None:
    """Twice the rate is offered, 140 kbit/s pass (Thr21: 130 to 150)."""
    bucket, passed = policer(), 0
    step_ns = size * 8 * SECOND_NS // 280_000
    for now_ns in range(0, 60 * SECOND_NS, step_ns):
        passed += size if bucket.lets_pass(size, TO_CLIENT, now_ns) else 0
    assert abs(passed - 140_000 / 8 * 60) <= 5_000 + size


@given(
    rate=st.integers(1, 10**9), burst=st.integers(1, 10**6), seed=st.integers(0, 2**32),
    count=st.integers(1, 200),
)  # fmt: skip
def test_never_more_than_rate_and_burst_and_one_packet(rate: int, burst: int, seed: int, count: int) -> None:
    """Whatever comes whenever, no window gets more; a clock that steps back gives nothing away."""
    bucket, rng = policer(rate, burst), Random(seed)
    now_ns, passed, largest = 0, 0, 0
    latest = 0
    for _ in range(count):
        now_ns = max(0, now_ns + rng.randrange(-1000, 10**8))
        latest = max(latest, now_ns)
        size = rng.randrange(1, 65_536)
        if bucket.lets_pass(size, TO_SERVER, now_ns):
            passed, largest = passed + size, max(largest, size)
    assert passed <= rate / 8e9 * latest + burst + largest + 1


def test_packet_larger_than_the_bucket_passes_when_it_is_full_and_leaves_a_debt() -> None:
    """Else a connection whose packets the kernel hands over in one piece would stand still."""
    bucket = policer(rate=8_000, burst=1_000)
    assert bucket.lets_pass(3_000, TO_SERVER, 0)
    passed = [second for second in range(1, 8) if bucket.lets_pass(3_000, TO_SERVER, second * SECOND_NS)]
    assert passed == [3, 6]


def test_directions_have_buckets_of_their_own() -> None:
    """A full upload does not slow the download; a direction that is not policed always passes."""
    bucket = policer(directions=(TO_CLIENT,))
    assert all(bucket.lets_pass(60_000, TO_SERVER, 0) for _ in range(10))
    assert bucket.lets_pass(5_000, TO_CLIENT, 0)
    assert not bucket.lets_pass(1, TO_CLIENT, 0)


def test_packet_that_is_dropped_costs_nothing() -> None:
    """Policing, not shaping: what is lost leaves the bucket as it was."""
    bucket = policer(rate=8, burst=100)
    assert bucket.lets_pass(90, TO_SERVER, 0)
    assert not bucket.lets_pass(20, TO_SERVER, 0)
    assert bucket.lets_pass(10, TO_SERVER, 0)


def test_throttled_connection_is_dropped_above_the_rate_and_never_let_go() -> None:
    """Every packet is counted to the end, in both directions, although no rule can match any more."""
    throttling = rule(
        'tls.handshake.type == 1 or tcp.payload contains "slow"', (Throttle(Constant(8_000), 1_000),)
    )
    talk = Talk(engine_for(throttling, placement=Placement.IN_PATH), server_port=80).connect()
    first = talk.client_sends(b"slow please")
    assert "throttle_started" in kinds(first)
    verdicts = []
    for number in range(40):
        talk.now_ns = number * SECOND_NS // 10
        decision = talk.server_sends(b"x" * 460)
        assert decision.offload is Offload.NONE
        verdicts.append(decision.verdict)
    passed = verdicts.count(Verdict.ACCEPT) * 500
    assert abs(passed - (1_000 * 3.9 + 1_000)) <= 500
