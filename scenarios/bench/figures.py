"""Figures, their bars, and how they are shown and kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from statistics import median
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

    @property
    def reached(self) -> bool:
        return self.valid and (self.value <= self.bar if self.smaller_is_better else self.value >= self.bar)

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"reached": self.reached}


def paired_ratio(pairs: list[tuple[float, float]]) -> float:
    """The median of box / baseline over neighbours in time."""
    return median(box / baseline for baseline, box in pairs)


def steady(baselines: list[float]) -> bool:
    """Whether what is compared with was about the same each time; if not, something else was measured."""
    return min(baselines) > median(baselines) / 2
