"""The box as a process on its node: start, ready, end, and its events read back.

Must never: call anything of the box but its command line (`python -m middlebox`) and the format of its events.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.host import Box
from scenarios.journeys import Event

READY_WITHIN_S = 20.0
"""The box compiles its rules and sets up its queue within a second; the rest is for slow machines (chosen)."""

END_WITHIN_S = 10.0
POLL_S = 0.005

_SOURCE = Path(__file__).resolve().parent.parent


class BoxProcess:
    """One running box. events: the file it writes; ready: its ready line, once `wait_ready` has returned."""

    def __init__(
        self,
        box: Box,
        profile: Path | str,
        events: Path,
        log: Path,
        *,
        seed: int,
        fail: str,
        behind: Sequence[str] = (),
    ) -> None:
        """behind: profiles of further boxes at the same place, each one behind the one before."""
        self.events = events
        self.ready: Mapping[str, Any] = {}
        self._log = log
        argv = [
            sys.executable, "-m", "middlebox", "--profile", str(profile), "--inside", box.inside_interface,
            "--outside", box.outside_interface, "--events", str(events), "--seed", str(seed), "--fail", fail,
            *(word for other in behind for word in ("--profile", other)),
        ]  # fmt: skip
        with log.open("wb") as stderr:
            self._process = box.popen(argv, env=_environment(), stdout=subprocess.PIPE, stderr=stderr)
        self.pid = self._process.pid

    def wait_ready(self) -> None:
        """Return once its rules are installed and its queue is served. LabError: it ended, or took too long."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], READY_WITHIN_S)
        line = self._process.stdout.readline() if readable else b""
        try:
            self.ready = json.loads(line)
        except ValueError:
            self._process.kill()
            self._process.wait()
            words = self._log.read_text(errors="replace").strip().splitlines()
            found = words[-1] if words else f"exit status {self._process.returncode}"
            raise LabError(f"expected the box to become ready, got {found!r}", read=self._log) from None

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """End it as a user would, by SIGTERM; its exit status, negative for the signal that ended it before."""
        if self.alive():
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        return status

    def wait_for_event(
        self,
        kind: str,
        where: Mapping[str, str | None],
        *,
        timeout_s: float,
        after: int,
        family: int | None = None,
    ) -> int | None:
        """Number (from 1) of the first event of that kind and those values after event number `after`.

        family: an event about a connection or host of the other IP version does not count. None: the event did not come
        in time, or the box ended. FileNotFoundError: somebody has removed the file; nothing would ever come.
        """
        deadline = time.monotonic() + timeout_s
        size_bytes = -1
        while True:
            alive = self.alive()
            # Read only what has grown: a residual may be waited for by the quarter of an hour.
            size_before, size_bytes = size_bytes, self.events.stat().st_size
            for number, event in enumerate(read_events(self.events) if size_bytes != size_before else (), 1):
                fits = event["event"] == kind and all(
                    key in event and event[key] == v for key, v in where.items()
                )
                if fits and number > after and _versions(event) <= {family or 4, family or 6}:
                    return number
            if time.monotonic() > deadline or not alive:
                return None
            time.sleep(POLL_S)


def _versions(event: Event) -> set[int]:
    """The IP versions of what an event is about: of its flow, of the addresses in a residual's key."""
    flow = event.get("flow") or {}
    words = [flow.get("client", ""), *(word.partition("=")[2] for word in event.get("key", ()))]
    return {6 if ":" in word else 4 for word in words if ":" in word or "." in word}


def _environment() -> dict[str, str]:
    """The user's own, with this source tree on Python's path."""
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{_SOURCE}{os.pathsep}{path}" if path else str(_SOURCE)}


def read_events(path: Path) -> Sequence[Event]:
    """Every whole line of an events file; a last line that is still being written is left out."""
    return list(_events(path))


def _events(path: Path) -> Iterator[Event]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return
    for line in text.splitlines(keepends=True):
        if line.endswith(b"\n"):
            event: Event = json.loads(line)
            yield event
