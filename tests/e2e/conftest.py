"""Runs of `tamperlab` from the outside, as a user types them: as root, as an ordinary user, with and without id ranges.

A root process becomes somebody else in the child only (as the emulation tests do); anybody else stays who he is. Runs
go to a folder of the test's own that this user may write to. A command ends with the test process, however that ends.
Each scenario is played once for all tests of what it leaves, whoever of the workers comes first; the others wait.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.fields.finished import Run
from tests.emulation.conftest import ORDINARY_ID, become_ordinary, give_subordinate_ids

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 100.0
"""For one command; the longest scenario takes about 25 s on a busy machine with two cores."""


def _root() -> None:
    """Stay who we are."""


def _mapped() -> None:
    give_subordinate_ids()
    become_ordinary()


_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)

FinishedRun = Callable[[str], Run]

USERS = {"root": _root, "ordinary": become_ordinary, "mapped": _mapped}


@dataclass(frozen=True)
class Terminal:
    """Somebody at a prompt. runs: where his runs go."""

    user: str
    runs: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`tamperlab ARGUMENTS`, running; what is written to its stdin is typed."""
        env = os.environ | {
            "TAMPERLAB_RUNS": str(self.runs), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT), "COLUMNS": "80",
            "PYTHONUTF8": "1",
        }  # fmt: skip
        if self.user != "root":
            env |= {"HOME": "/nonexistent", "PATH": "/usr/local/bin:/usr/bin:/bin"}
        return subprocess.Popen(
            [sys.executable, "-m", "scenarios.cli", *arguments], cwd=self.runs, env=env, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=self._prepare,
        )  # fmt: skip

    def _prepare(self) -> None:
        """In the child: become that user, and die when the test process does (forgotten where a user changes)."""
        USERS[self.user]()
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def type(self, *arguments: str, then: str = "") -> subprocess.CompletedProcess[str]:
        """`tamperlab ARGUMENTS`, to its end. then: what is typed at its prompt."""
        process = self.start(*arguments)
        try:
            out, err = process.communicate(then, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()  # with it goes everything it started
            out, err = process.communicate()
            pytest.fail(f"tamperlab {' '.join(arguments)} did not end: {out[-2000:]}{err[-2000:]}")
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def run_folders(self) -> list[Path]:
        """The folders of his runs, oldest first."""
        return sorted(path for path in self.runs.iterdir() if path.is_dir() and not path.is_symlink())

    def result(self) -> dict[str, Any]:
        """result.json of his newest run."""
        found: dict[str, Any] = json.loads((self.runs / "latest" / "result.json").read_text())
        return found


@pytest.fixture
def terminal(request: pytest.FixtureRequest) -> Iterator[Terminal]:
    """A prompt of the user that the test's parameter `user` names; an ordinary one if it has none."""
    user = (
        request.node.callspec.params.get("user", "ordinary")
        if hasattr(request.node, "callspec")
        else "ordinary"
    )
    if os.geteuid() != 0 and user != "ordinary":
        pytest.skip(f"needs real root to become {user!r}; CI has it")
    if user == "mapped" and shutil.which("newuidmap") is None:
        pytest.skip("needs newuidmap (package uidmap) for a range of user ids")
    with prompt_of(user) as terminal:
        yield terminal


@contextmanager
def prompt_of(user: str) -> Iterator[Terminal]:
    """A prompt of a user, with a folder for his runs that is gone afterwards."""
    runs = Path(tempfile.mkdtemp(prefix="tamperlab-e2e-"))
    try:
        if os.geteuid() == 0 and user != "root":
            os.chown(runs, ORDINARY_ID, ORDINARY_ID)
        yield Terminal(user, runs)
    finally:
        shutil.rmtree(runs)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """`finished_run(slug)`: an ordinary user's run of a scenario with its controls, which must be as expected."""
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
    run = shared / slug
    with (shared / f"{slug}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not run.exists():
            with prompt_of("ordinary") as terminal:
                play(terminal, slug)
                shutil.move((terminal.runs / "latest").resolve(), run)
    return run


def play(terminal: Terminal, *arguments: str) -> dict[str, Any]:
    """Run with --json; the result, which must be as expected."""
    done = terminal.type("run", *arguments, "--json")
    if done.returncode != 0:
        pytest.fail(f"exit status {done.returncode}\n{_failures(done.stdout)}\n{done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _failures(stdout: str) -> str:
    """What went wrong, out of a result in JSON."""
    try:
        worlds = json.loads(stdout)["worlds"]
    except ValueError:
        return stdout[-3000:]
    lines = [f"{world['name']}: {problem}" for world in worlds for problem in world["problems"]]
    for world in worlds:
        checks = [*world["checks"], *(check for one in world["plays"] for check in one["checks"])]
        lines += [f"{world['name']}: {c['expectation']}: saw {c['seen']}" for c in checks if not c["passed"]]
    return "\n".join(lines)
