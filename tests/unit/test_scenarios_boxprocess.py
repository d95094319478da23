"""The box as a process: ready line, events while it writes them, end; tried on a stand-in that is no box."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lab.errors import LabError
from lab.host import Box
from scenarios.boxprocess import BoxProcess, read_events

READY = 'print(\'{"ready": true, "queue": 1}\', flush=True); signal.pause()'
STUBBORN = f"signal.signal(signal.SIGTERM, lambda *_: sys.exit(4)); {READY}"


class StandIn:
    """A node on which `python -m middlebox` is a line of Python."""

    inside_interface, outside_interface = "box-eth0", "box-eth1"

    def __init__(self, line: str) -> None:
        self.line = line
        self.argv: list[str] = []

    def popen(self, argv: list[str], **options: Any) -> subprocess.Popen[bytes]:
        self.argv = argv
        return subprocess.Popen([sys.executable, "-c", f"import signal, sys; {self.line}"], **options)


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Any]:
    """Makes box processes, and sees that they end."""
    made: list[BoxProcess] = []

    def make(line: str) -> BoxProcess:
        box = BoxProcess(
            cast(Box, StandIn(line)), tmp_path / "box.yaml", tmp_path / "events.jsonl", tmp_path / "box.log",
            seed=7, fail="open",
        )  # fmt: skip
        made.append(box)
        return box

    yield make
    for box in made:
        box.stop()


def test_boxprocess_is_started_by_its_command_line(tmp_path: Path) -> None:
    """Everything that the box must know is an argument; nothing of it is imported."""
    node = StandIn(READY)
    box = BoxProcess(
        cast(Box, node), tmp_path / "b.yaml", tmp_path / "e.jsonl", tmp_path / "b.log", seed=7, fail="closed"
    )
    box.stop()
    assert node.argv[1:3] == ["-m", "middlebox"]
    options = dict(zip(node.argv[3::2], node.argv[4::2], strict=True))
    assert options == {
        "--profile": str(tmp_path / "b.yaml"), "--inside": "box-eth0", "--outside": "box-eth1",
        "--events": str(tmp_path / "e.jsonl"), "--seed": "7", "--fail": "closed",
    }  # fmt: skip


def test_boxprocess_ready_line_is_kept(boxes: Any) -> None:
    """What the box said when it was ready belongs into the result."""
    box = boxes(READY)
    box.wait_ready()
    assert box.ready == {"ready": True, "queue": 1}
    assert box.alive()


@pytest.mark.parametrize(("line", "status"), [(READY, -15), (STUBBORN, 4)])
def test_boxprocess_stop_tells_how_it_ended(line: str, status: int, boxes: Any) -> None:
    """The exit status, or the signal it died of."""
    box = boxes(line)
    box.wait_ready()
    assert box.stop() == status
    assert not box.alive()


def test_boxprocess_that_ends_before_it_is_ready_says_its_last_words(boxes: Any, tmp_path: Path) -> None:
    """The reason is in the error, the rest in a log that the error names."""
    box = boxes("sys.exit('expected root, got nobody')")
    with pytest.raises(LabError, match=f"got 'expected root, got nobody'; read {tmp_path / 'box.log'}"):
        box.wait_ready()


def write(path: Path, *events: dict[str, Any], rest: str = "") -> None:
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + rest)


def test_boxprocess_events_are_read_up_to_the_line_being_written(tmp_path: Path) -> None:
    """Half a line is not there yet; no file, no events."""
    assert read_events(tmp_path / "none.jsonl") == []
    write(tmp_path / "e.jsonl", {"event": "a"}, {"event": "b"}, rest='{"event": "c')
    assert [event["event"] for event in read_events(tmp_path / "e.jsonl")] == ["a", "b"]


def test_boxprocess_wait_finds_the_first_event_after_the_last_one(boxes: Any) -> None:
    """Waits read the log forwards: kind and values must fit, null is a value, an event serves one wait."""
    box = boxes(READY)
    write(
        box.events, {"event": "profile_changed", "profile": None}, {"event": "flow_seen"},
        {"event": "profile_changed", "profile": "a"}, {"event": "profile_changed", "profile": None},
    )  # fmt: skip

    def wait(after: int, **where: str | None) -> int | None:
        found: int | None = box.wait_for_event("profile_changed", where, timeout_s=0, after=after)
        return found

    assert wait(0, profile=None) == 1
    assert wait(1, profile=None) == 4
    assert wait(0, profile="a") == 3
    assert wait(3, profile="a") is None
    assert wait(0, rule="x") is None


def test_boxprocess_wait_ends_when_the_box_does(boxes: Any) -> None:
    """Nobody waits a minute for a box that is gone."""
    box = boxes("pass")
    write(box.events)
    box.stop()
    assert box.wait_for_event("profile_changed", {}, timeout_s=60, after=0) is None


def test_boxprocess_wait_ends_when_the_events_are_removed(boxes: Any) -> None:
    """Nobody waits a quarter of an hour for what can no longer be read."""
    box = boxes(READY)
    with pytest.raises(FileNotFoundError):
        box.wait_for_event("profile_changed", {}, timeout_s=900, after=0)
