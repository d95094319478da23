"""Delays of profiles against their published quantiles (catalogue section 2.3), closer than a run can show them.

What runs show is in tests/e2e/fields/test_henan.py and test_gfw_2024_share.py.
"""

from __future__ import annotations

from bisect import bisect
from random import Random

import pytest

from middlebox.forge import Forger
from middlebox.load import load_profile
from middlebox.profile import Reset

DRAWS = 20_000
SHARES = (0.05, 0.25, 0.50, 0.75, 0.95)


@pytest.mark.parametrize(
    ("name", "least_ms", "quantiles_ms", "most_ms"),
    [
        ("gfw-2024", 11.53, (12.67, 14.90, 16.42, 18.41, 22.71), 445.39),
        ("henan", 2.30, (2.41, 2.50, 2.61, 2.86, 4.14), 30.49),
    ],
)
def test_profile_delay_has_the_published_quantiles(
    name: str, least_ms: float, quantiles_ms: tuple[float, ...], most_ms: float
) -> None:
    """The measured share of draws lies below each quantile that was measured, none outside the range."""
    forger = Forger(Random(7))
    for rule in load_profile(name).rules:
        [reset] = [action for action in rule.do if isinstance(action, Reset)]
        drawn = sorted(forger.delay_ns(reset.look.delay) / 1e6 for _ in range(DRAWS))
        assert least_ms <= drawn[0]
        assert drawn[-1] <= most_ms
        for share, quantile_ms in zip(SHARES, quantiles_ms, strict=True):
            assert bisect(drawn, quantile_ms) / DRAWS == pytest.approx(share, abs=0.015)
