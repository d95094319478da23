"""The folder of runs: `runs/<run-id>/`, `runs/latest` pointing at the newest. `TAMPERLAB_RUNS` names another folder.

A run id is the time (UTC), the scenario and four random letters, so that two started in the same second differ.
Must never: delete a run. What could not start was none: it leaves nothing but what its message says to read.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lab.errors import LabError
from middlebox.sourcefile import is_file
from scenarios.errors import ArgumentError

LATEST = "latest"
RESULT = "result.json"


def runs_directory() -> Path:
    """`$TAMPERLAB_RUNS`, or `runs` below the current folder; absolute, may not exist yet."""
    return Path(os.environ.get("TAMPERLAB_RUNS") or "runs").absolute()


@contextmanager
def new_run(slug: str) -> Iterator[Path]:
    """The folder of a new run, at which `latest` points; both are as before when the run finds that it cannot start.

    LabError: the folder of runs cannot be written, or the run's was removed while it ran.
    """
    runs = runs_directory()
    link = runs / LATEST
    before = _target(link)
    try:
        directory = _new_run(runs, slug)
    except OSError as error:
        raise LabError(
            f"expected a folder for runs to write to, got {str(runs)!r}: {error.strerror}",
            "TAMPERLAB_RUNS=FOLDER names another",
        ) from error
    try:
        yield directory
    except (ArgumentError, LabError) as error:
        if _target(link) == directory.name:  # another run may have begun meanwhile
            _point_back(link, before)
        to_read = error.read if isinstance(error, LabError) else None
        if to_read is None or not to_read.is_relative_to(directory):
            shutil.rmtree(directory, ignore_errors=True)  # what is to be said is why it could not start
        raise
    except OSError as error:
        if directory.is_dir():
            raise
        raise LabError(
            f"expected the run's folder to stay until the run ends, got {str(directory)!r} removed",
            "run it again",
        ) from error


def _target(link: Path) -> str:
    """The name of the run that `latest` points at; "" without one."""
    return str(link.readlink()) if link.is_symlink() else ""


def _point_back(link: Path, name: str) -> None:
    """To the run before, unless that one could not start either."""
    if name and (link.parent / name).is_dir():
        _point(link, name)
    else:
        link.unlink()


def _point(link: Path, name: str) -> None:
    """A link is replaced by renaming another one over it: whoever looks sees the old run or the new, never neither."""
    beside = link.with_name(f".{link.name}-{name}-{secrets.token_hex(2)}")
    beside.symlink_to(name)
    beside.replace(link)


def _new_run(runs: Path, slug: str) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    while True:
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(2)}"
        try:
            (runs / run_id).mkdir()
        except FileExistsError:
            continue
        break
    _point(runs / LATEST, run_id)
    return runs / run_id


def find_run(name: str) -> Path:
    """The folder of a run: by id, `latest`, a part of an id that only one run has, or a path.

    ArgumentError: there is none, or more than one; the message says which there are.
    """
    runs = runs_directory()
    for path in (runs / name, Path(name)):
        if is_file(path / RESULT):
            return path.resolve()
    finished = sorted(path.parent.name for path in runs.glob(f"*/{RESULT}") if not path.parent.is_symlink())
    matching = [run_id for run_id in finished if name in run_id]
    if len(matching) == 1:
        return runs / matching[0]
    if matching:
        raise ArgumentError(
            f"expected one run, got {name!r} which fits {', '.join(matching[-5:])}; give more of it"
        )
    newest = (
        f"the newest are {', '.join(finished[-5:])}"
        if finished
        else "there is none yet: tamperlab run SCENARIO"
    )
    got = repr(name)
    if name == LATEST and (runs / LATEST).is_dir():
        got = f"{(runs / LATEST).resolve().name}, which is a shell or was interrupted"
    raise ArgumentError(f"expected a finished run in {runs}, got {got}; {newest}")
