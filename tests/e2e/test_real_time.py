"""Scenarios whose box forgets faster than the real one, once more in real time."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Terminal, play
from tests.e2e.shipped import SLUGS, shipped
from tests.e2e.test_scenarios import assert_honest

IN_A_HURRY = {
    "gfw-fet-share": "counts how often somebody is cut off, so that must be over when he comes again",
    "gfw-2017-share": "counts how often somebody is overlooked, so his punishment must be over when he comes again",
    "gfw-2017-rst-share": "the same, of those who are forgotten",
    "gfw-2024-share": "counts how often each injector answers, so the punishment must be over at the next attempt",
    "gfw-fet-load": "cuts off ten in a second, who forget each other between two SYNs that are six seconds apart",
}
"""Scenarios that make no sense in real time, and why; what they are about has another one that does."""

SCALED = [slug for slug in SLUGS if shipped(slug).time_scale != 1 and slug not in IN_A_HURRY]
LONGEST_S = 30 * 60
"""Clayton's twenty minutes, with room to spare."""


@pytest.mark.deep
@pytest.mark.timeout(LONGEST_S)
@pytest.mark.parametrize("slug", SCALED)
def test_scenario_in_real_time_is_as_expected(
    slug: str, terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What holds with a hundredth of the residual's time holds with all of it."""
    monkeypatch.setattr("tests.e2e.conftest.TIMEOUT_S", LONGEST_S)
    result = play(terminal, slug, "--time-scale", "1", "--no-controls")
    assert result["time_scale"] == 1
    assert_honest(result)
