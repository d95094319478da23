"""A program that would go on for ever is read until it decides."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.clients.base import Finished, Target, Workplace
from lab.clients.watched import watch_program


class ThisMachine:
    """Where programs run without a lab."""

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """As `Host.popen`, in a session of its own."""
        return subprocess.Popen(argv, start_new_session=True, **options)


def watched(script: str, folder: Path, *, limit_s: float = 10.0) -> Finished:
    """A shell script that is watched until it says `up` or `down`, and tries from `trying` on."""
    workplace = Workplace.make(Target(server_name="x.example", directory=folder), "script")
    return watch_program(
        ThisMachine(), ["sh", "-c", script], workplace=workplace, tries="trying", decided_by=("up", "down"),  # type: ignore[arg-type]
        time_limit_s=limit_s,
    )  # fmt: skip


def test_watched_program_is_ended_once_it_has_decided(tmp_path: Path) -> None:
    """The word is enough, in whatever pieces it comes; it has an exit status, which says that it was in time."""
    done = watched("echo trying; printf u; printf 'p\\n'; exec sleep 60", tmp_path)
    assert done.exit_status is not None
    assert done.output == "trying\nup\n"
    assert done.seconds < 30


def test_watched_program_that_ends_has_its_own_status(tmp_path: Path) -> None:
    """What it printed on either stream is kept."""
    done = watched("echo trying; echo no >&2; exit 3", tmp_path)
    assert (done.exit_status, done.output) == (3, "trying\nno\n")


def test_watched_program_that_never_decides_runs_into_the_limit(tmp_path: Path) -> None:
    """The limit counts from when it tries."""
    done = watched("echo trying; exec sleep 60", tmp_path, limit_s=0.1)
    assert (done.exit_status, done.output) == (None, "trying\n")
