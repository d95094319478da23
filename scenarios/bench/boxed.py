"""The bench's network, and a box in it that can be there or not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.lab import Lab
from lab.topology import IspTopology
from middlebox.load import load_deployment
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


def profile_name(profile: str) -> str:
    """The profile's own name, for files; ProfileError when it cannot be loaded."""
    return load_deployment(profile).name


@contextmanager
def box_with(lab: Lab, profile: str, events: Path) -> Iterator[list[BoxEnd]]:
    """A box with this profile for the length of the block; afterwards the list holds its end."""
    ended: list[BoxEnd] = []
    box = BoxProcess(lab.box, profile, events, events.with_suffix(".log"), seed=1, fail="open")
    box.wait_ready()
    try:
        yield ended
    finally:
        box.stop()
        ended.append(BoxEnd(read_events(events)[-1]))
