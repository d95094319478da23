"""The folder of runs: `runs/<run-id>/`, `runs/latest` pointing at the newest. `TAMPERLAB_RUNS` names another folder.

A run id is the time (UTC), the scenario and four random letters, so that two started in the same second differ.
Must never: delete a run.
"""

from __future__ import annotations

import os
import secrets
from datetime import UTC, datetime
from pathlib import Path

from lab.errors import LabError
from scenarios.errors import ArgumentError

LATEST = "latest"
RESULT = "result.json"


def runs_directory() -> Path:
    """`$TAMPERLAB_RUNS`, or `runs` below the current folder; absolute, may not exist yet."""
    return Path(os.environ.get("TAMPERLAB_RUNS") or "runs").absolute()


def new_run(slug: str) -> Path:
    """Make the folder of a new run and let `latest` point at it. LabError: the folder of runs cannot be written."""
    runs = runs_directory()
    try:
        return _new_run(runs, slug)
    except OSError as error:
        raise LabError(
            f"expected a folder for runs to write to, got {str(runs)!r}: {error.strerror}",
            "TAMPERLAB_RUNS=FOLDER names another",
        ) from error


def _new_run(runs: Path, slug: str) -> Path:
    runs.mkdir(parents=True, exist_ok=True)
    while True:
        run_id = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{slug}-{secrets.token_hex(2)}"
        try:
            (runs / run_id).mkdir()
        except FileExistsError:
            continue
        break
    # A link is replaced by renaming another one over it: whoever looks sees the old run or the new, never neither.
    beside = runs / f".{LATEST}-{run_id}"
    beside.symlink_to(run_id)
    beside.replace(runs / LATEST)
    return runs / run_id


def find_run(name: str) -> Path:
    """The folder of a run: by id, `latest`, a part of an id that only one run has, or a path.

    ArgumentError: there is none, or more than one; the message says which there are.
    """
    runs = runs_directory()
    for path in (runs / name, Path(name)):
        if (path / RESULT).is_file():
            return path.resolve()
    finished = sorted(path.parent.name for path in runs.glob(f"*/{RESULT}") if not path.parent.is_symlink())
    matching = [run_id for run_id in finished if name in run_id]
    if len(matching) == 1:
        return runs / matching[0]
    if matching:
        raise ArgumentError(
            f"expected one run, got {name!r} which fits {', '.join(matching[-5:])}; give more of it"
        )
    newest = ", ".join(finished[-5:]) or "none yet: tamperlab run SCENARIO"
    raise ArgumentError(f"expected a finished run in {runs}, got {name!r}; there are: {newest}")
