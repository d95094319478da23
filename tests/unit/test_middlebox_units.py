"""Numbers with units are exact."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from middlebox.units import DURATION_UNITS, RATE_UNITS, SIZE_UNITS, parse_quantity


@pytest.mark.parametrize(
    ("text", "units", "value"),
    [
        ("180s", DURATION_UNITS, 180_000_000_000),
        ("1.5s", DURATION_UNITS, 1_500_000_000),
        ("20ms", DURATION_UNITS, 20_000_000),
        ("300us", DURATION_UNITS, 300_000),
        ("7 ns", DURATION_UNITS, 7),
        ("5min", DURATION_UNITS, 300_000_000_000),
        ("1h", DURATION_UNITS, 3_600_000_000_000),
        ("0", DURATION_UNITS, 0),
        ("445.39ms", DURATION_UNITS, 445_390_000),
        ("64kB", SIZE_UNITS, 64_000),
        ("64KiB", SIZE_UNITS, 65_536),
        ("1500", SIZE_UNITS, 1500),
        ("10Mbit", RATE_UNITS, 10_000_000),
        ("1.5Gbit", RATE_UNITS, 1_500_000_000),
    ],
)
def test_quantity_is_read_exactly(text: str, units: Mapping[str, int], value: int) -> None:
    """A decimal fraction of a unit is not rounded through a binary one."""
    assert parse_quantity(text, units) == value


@pytest.mark.parametrize("text", ["", "s", "5", "-5s", "5 minutes", "5S", "1e3s", "1.s", "٥s", "5s5", "nan"])
def test_quantity_that_is_none_is_refused(text: str) -> None:
    """A missing or unknown unit, a sign or another script's digits are no duration."""
    assert parse_quantity(text, DURATION_UNITS) is None
