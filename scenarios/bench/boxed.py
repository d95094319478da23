"""The bench's network, a box in it that can be there or not, and what is measured with and without in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from lab.lab import Lab
from lab.topology import IspTopology
from scenarios.bench.figures import Figure, error_of_median, paired_ratios, steady
from scenarios.boxprocess import BoxProcess, read_events

NEAR_ONE: Final = 0.9
"""Single pairs stray by 3 to 5 %, which is all that is left to a bar above this (chosen)."""


@dataclass(frozen=True, slots=True)
class BoxEnd:
    """How a box ended. `figures`: what its `run_ended` event says."""

    figures: Mapping[str, Any]

    @property
    def valid(self) -> bool:
        return bool(self.figures.get("valid"))


def bench_lab(run_dir: Path, servers: Sequence[str]) -> Lab:
    """One subscriber, one router on each side of the box; offloads on, as on a real machine."""
    return Lab(
        IspTopology(subscribers=1, hops_before_box=1, hops_after_box=1, servers=servers),
        run_dir=run_dir,
        offloads=True,
    )


@contextmanager
def box_with(lab: Lab, profiles: str, events: Path) -> Iterator[list[BoxEnd]]:
    """A box for the length of the block; afterwards the list holds its end. profiles: a name, or several with + between
    for boxes one behind the other."""
    ended: list[BoxEnd] = []
    first, *behind = profiles.split("+")
    box = BoxProcess(lab.box, first, events, events.with_suffix(".log"), seed=1, fail="open", behind=behind)
    box.wait_ready()
    try:
        yield ended
    finally:
        box.stop()
        ended.append(BoxEnd(read_events(events)[-1]))


def measure_in_turn(
    lab: Lab,
    run_dir: Path,
    *,
    what: str,
    unit: str,
    profiles: Mapping[str, float],
    pairs: int,
    measure: Callable[[], float],
) -> list[Figure]:
    """One figure for each profile -> bar: what `measure` returns with the box, divided by what it has returned just
    before without one. pairs: how often; where the bar is near 1, four times as often."""
    measure()  # warm up
    figures = []
    for profile, bar in profiles.items():
        measured, ends = [], []
        for number in range(4 * pairs if bar > NEAR_ONE else pairs):
            plain = measure()
            events = run_dir / f"{what.replace(' ', '-')}-{profile}-{number}.jsonl"
            with box_with(lab, profile, events) as ended:
                boxed = measure()
            ends += ended
            measured.append((plain, boxed))
        ratios = paired_ratios(measured)
        figures.append(
            Figure(
                f"{what}, {profile}",
                median(ratios),
                unit,
                bar,
                valid=all(end.valid for end in ends) and steady([plain for plain, _ in measured]),
                give_or_take=error_of_median(ratios),
                details={"plain_and_box": measured, "box": [end.figures for end in ends]},
            )
        )
    return figures
