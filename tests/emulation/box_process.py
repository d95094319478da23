"""A box process in the middle of `peers`, and what it wrote."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.emulation.peers import ROOT, Peers

EVERYTHING_ON_7000 = """
profile: everything-on-7000
title: Every segment of port 7000
placement: {placement}
source: chosen
rules:
  - name: everything
    when: tcp.port == 7000
    do: [reset]  # stands for whatever the engine forges
"""


class BoxProcess:
    """A running box. `stop` ends it and returns its exit code."""

    def __init__(
        self, process: subprocess.Popen[bytes], events: Path, ready: dict[str, Any], errors: Path
    ) -> None:
        self.process = process
        self.ready = ready
        self._events = events
        self._errors = errors

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        """What it has written so far, all or of one kind; a line is there when its end is."""
        whole, _, _ = self._events.read_text().rpartition("\n")
        lines = whole.splitlines()
        return [event for event in map(json.loads, lines) if kind in (None, event["event"])]

    def handled(self) -> list[list[str]]:
        """The words of each packet that reached the obedient engine."""
        return [event["words"] for event in self.events("handled")]

    def errors(self) -> str:
        return self._errors.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout=30)


@contextmanager
def running_box(
    peers: Peers, profile: str | Path, *, arguments: Sequence[str] = (), stand_in: bool = False
) -> Iterator[BoxProcess]:
    """A box that is ready; stopped at the end whatever happens. `stand_in`: with the obedient engine."""
    events, errors = peers.folder / "events.jsonl", peers.folder / "stderr"
    module = "tests.emulation.stand_in_box" if stand_in else "middlebox"
    argv = [
        sys.executable, "-m", module, "--profile", str(profile), "--inside", "inside", "--outside", "outside",
        "--events", str(events), *arguments,
    ]  # fmt: skip
    with errors.open("wb") as stderr:
        process = peers.box.popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr)
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
        if not line:
            process.wait()
            raise AssertionError(f"the box did not start: {errors.read_text()}")
        box = BoxProcess(process, events, json.loads(line), errors)
        try:
            yield box
        finally:
            box.stop(signal.SIGKILL)


def everything_on_7000(peers: Peers, placement: str = "in-path") -> Path:
    """A profile that brings every segment of port 7000 to user space."""
    path = peers.folder / "everything.yaml"
    path.write_text(EVERYTHING_ON_7000.format(placement=placement))
    return path
