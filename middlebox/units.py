"""Numbers with a unit, as people write them: `180s`, `64kB`, `10Mbit`. Exact: no float in between."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

DURATION_UNITS: Mapping[str, int] = MappingProxyType(
    {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
)
"""Unit -> nanoseconds."""

SIZE_UNITS: Mapping[str, int] = MappingProxyType(
    {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
)
"""Unit -> bytes. Powers of ten and of two as in IEC 80000-13."""

RATE_UNITS: Mapping[str, int] = MappingProxyType({"bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9})
"""Unit -> bits per second."""

MAX_DURATION_NS = 1000 * DURATION_UNITS["h"]
"""Longer than any residual block that has been measured (chosen)."""

_QUANTITY = re.compile(r"(\d{1,30}(?:\.\d{1,30})?) ?([A-Za-z]*)", re.ASCII)


def unit_hint(text: str, units: Mapping[str, int]) -> str:
    """What is to be done about a text that `parse_quantity` does not take."""
    found = _QUANTITY.fullmatch(text.strip())
    words = [unit for unit in units if unit]
    if found is None or not found[2]:
        return f"write a number and {', '.join(words[:-1])} or {words[-1]}"
    meant = [unit for unit in words if found[2].casefold() in (unit.casefold(), unit[:-1].casefold())]
    return (
        f"did you mean {found[1]}{meant[0]}?"
        if meant
        else f"the units are {', '.join(words[:-1])} and {words[-1]}"
    )


def parse_quantity(text: str, units: Mapping[str, int]) -> int | None:
    """The number in the smallest unit, rounded to the nearest whole one; None when it is not a number with one of
    these units. A bare `0` needs no unit."""
    found = _QUANTITY.fullmatch(text.strip())
    if found is None:
        return None
    number, unit = Fraction(found[1]), found[2]
    if unit not in units:
        return 0 if number == 0 and not unit else None
    return round(number * units[unit])
