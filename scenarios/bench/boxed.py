"""The bench's network, and a box in it that can be there or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.lab import Lab
from lab.topology import IspTopology
from scenarios.boxprocess import BoxProcess, read_events


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
