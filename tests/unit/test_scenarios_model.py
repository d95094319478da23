"""The few things that the model computes."""

from __future__ import annotations

import pytest

from scenarios.model import (
    Count,
    Step,
    Together,
    Wait,
    steps_of,
)


@pytest.mark.parametrize(
    ("count", "holds", "fails"),
    [
        (Count(0, 0, "0"), [0], [1]),
        (Count(1, None, ">=1"), [1, 1000], [0]),
        (Count(0, 2, "<=2"), [0, 2], [3]),
        (Count(1, 3, "1..3"), [1, 3], [0, 4]),
    ],
)
def test_count_holds_within_its_ends(count: Count, holds: list[int], fails: list[int]) -> None:
    """Both ends of a count belong to it."""
    assert all(count.holds(n) for n in holds)
    assert not any(count.holds(n) for n in fails)


def test_steps_of_goes_into_what_runs_together() -> None:
    """Every client step once, in the order of the file; waits are none."""
    one, two, three = (Step(name, "sim1", "smtplib-submission") for name in ("one", "two", "three"))
    items = (one, Wait("profile_changed", {}, 1), Together((two, three)))
    assert list(steps_of(items)) == [one, two, three]
