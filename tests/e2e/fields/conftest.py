"""Each scenario is played once for all tests of its fields, whoever of the workers comes first; the others wait."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Terminal
from tests.e2e.fields.finished import Run

FinishedRun = Callable[[str], Run]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """`finished_run(slug)`: the run of a scenario without its controls, which must have ended as expected."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    shared.mkdir(exist_ok=True)
    known: dict[str, Run] = {}

    def finished(slug: str) -> Run:
        if slug not in known:
            known[slug] = Run(_played(slug, shared))
        return known[slug]

    return finished


def _played(slug: str, shared: Path) -> Path:
    """The folder of the run, played if nobody has yet."""
    runs = shared / slug
    with (shared / f"{slug}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (runs / "latest").exists():
            runs.mkdir(exist_ok=True)
            user = "root" if os.geteuid() == 0 else "ordinary"
            done = Terminal(user, runs).type("run", slug, "--no-controls", "--json")
            assert done.returncode == 0, f"{_failures(done.stdout)}\n{done.stderr[-2000:]}"
    return (runs / "latest").resolve()


def _failures(stdout: str) -> str:
    try:
        worlds = json.loads(stdout)["worlds"]
    except ValueError:
        return stdout[-2000:]
    lines = [problem for world in worlds for problem in world["problems"]]
    checks = [c for w in worlds for c in (*w["checks"], *(c for play in w["plays"] for c in play["checks"]))]
    return "\n".join([*lines, *(f"{c['expectation']}: saw {c['seen']}" for c in checks if not c["passed"])])
