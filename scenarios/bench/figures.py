"""Figures, their bars, and how they are shown and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import sqrt
from statistics import median, quantiles
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. `value` against `bar`: at least it, or at most it when `smaller_is_better`."""

    name: str
    value: float
    unit: str
    bar: float
    smaller_is_better: bool = False
    valid: bool = True  # nothing overflowed, no engine error, a steady baseline
    details: dict[str, Any] = field(default_factory=dict)
    give_or_take: float = 0.0
    """Standard error of `value`, where it was measured often enough to say."""

    @property
    def reached(self) -> bool:
        return self.valid and (self.value <= self.bar if self.smaller_is_better else self.value >= self.bar)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}


def paired_ratios(pairs: list[tuple[float, float]]) -> list[float]:
    """box / baseline of neighbours in time."""
    return [box / baseline for baseline, box in pairs]


def error_of_median(values: list[float]) -> float:
    """Its standard error by the quartiles, which strays do not move; 0 of too few values.

    Of the normal distribution: 1.253 s / sqrt(n), and the quartiles are 1.349 s apart.
    """
    if len(values) < 4:
        return 0.0
    low, _, high = quantiles(values, n=4)
    return 1.253 * (high - low) / 1.349 / sqrt(len(values))


def steady(baselines: list[float]) -> bool:
    """Whether what is compared with was about the same each time; if not, something else was measured."""
    return min(baselines) > median(baselines) / 2
