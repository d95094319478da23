"""Tests inside a sandbox: `@pytest.mark.sandboxed`, and a parameter `user`: "root", "ordinary" or "mapped".

Such a test runs in a forked process that enters a sandbox of its own; its reports come back through a pipe. So it
can do to its network what it likes, tests can run side by side, and one that hangs or dies takes nothing along.
With user="ordinary" a root process becomes an ordinary user first, who has no range of subordinate ids; with
user="mapped" he has one, by files that only the test's mount namespace shows.
A fixture is set up inside too: `run_dir` is a directory that this user may write to.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.runner import runtestprotocol

from lab import sandbox

ORDINARY_ID = 54321
"""User and group id that no machine gives to anybody."""

FIRST_SUBORDINATE_ID = 2_000_000

_CLONE_NEWNS = 0x00020000
_MS_REC, _MS_PRIVATE = 16384, 1 << 18

TIMEOUT_S = 60.0


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "sandboxed: runs in a forked process inside a sandbox of its own")


def become_ordinary() -> None:
    """From root to an ordinary user with no groups; anybody else stays who he is."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(ORDINARY_ID, ORDINARY_ID, ORDINARY_ID)
        os.setresuid(ORDINARY_ID, ORDINARY_ID, ORDINARY_ID)
        os.environ["HOME"] = "/nonexistent"  # root's, which this user may not read, makes tshark 4.0 crash


def watch(pids: Iterable[int]) -> list[int]:
    """File descriptors for `wait_for_end`; to be opened while the processes live."""
    watched = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # ended since it was seen, as we want them all to
            watched.append(os.pidfd_open(pid))
    return watched


def wait_for_end(pidfds: list[int], timeout_s: float = 30.0) -> None:
    """Return when all the processes watched have ended; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    for fd in pidfds:
        left_s = max(deadline - time.monotonic(), 0)
        assert select.select([fd], [], [], left_s)[0], "a process lives that should have ended"
        os.close(fd)


def wait_until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Return when `holds()` is true, looked at every few milliseconds; fail after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "the condition never came true"
        select.select([], [], [], 0.005)


def give_subordinate_ids() -> None:
    """In a new mount namespace of this process the machine knows the ordinary user and gives him a range of ids."""
    assert ctypes.CDLL(None).unshare(_CLONE_NEWNS) == 0
    sandbox.mount("none", "/", flags=_MS_REC | _MS_PRIVATE)
    lines = {
        "passwd": f"labuser:x:{ORDINARY_ID}:{ORDINARY_ID}::/:/bin/sh\n",
        "group": f"labuser:x:{ORDINARY_ID}:\n",
        "subuid": f"labuser:{FIRST_SUBORDINATE_ID}:65536\n",
        "subgid": f"labuser:{FIRST_SUBORDINATE_ID}:65536\n",
    }
    directory = Path("/mnt")
    sandbox.mount("tmpfs", str(directory), "tmpfs")
    for name, line in lines.items():
        file = Path("/etc", name)
        (directory / name).write_text(file.read_text() + line)
        sandbox.bind_file(directory / name, file)


@pytest.fixture(scope="session")
def runs_folder() -> Iterator[Path]:
    """As for every test, but for any user; a forked test that inherits it leaves it to its maker."""
    path, maker = Path(tempfile.mkdtemp(prefix="lab-test-runs-")), os.getpid()
    path.chmod(0o777)
    yield path
    if os.getpid() == maker:
        shutil.rmtree(path)


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """An empty directory of the user who runs the test, gone afterwards."""
    path = Path(tempfile.mkdtemp(prefix="lab-test-"))
    yield path
    shutil.rmtree(path)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    """Run a test marked `sandboxed` in its sandbox; leave any other to pytest."""
    if item.get_closest_marker("sandboxed") is None:
        return None
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _run_apart(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.session._setupstate.teardown_exact(nextitem)  # of tests before this one that ran here
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _run_apart(item: pytest.Item) -> list[pytest.TestReport]:
    user = getattr(item, "callspec", None) and item.callspec.params.get("user")  # type: ignore[attr-defined]
    if user in ("root", "mapped") and os.geteuid() != 0:
        return [_report(item, "skipped", (str(item.path), 0, "Skipped: needs real root; CI has it"))]
    reports_r, reports_w = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of threads (pytest-xdist has one): the child uses nothing that they could hold
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.close(reports_r)
        _run_in_sandbox(item, reports_w, user)
    os.close(reports_w)
    try:
        said = _read_to_end(reports_r, TIMEOUT_S)
    finally:
        os.close(reports_r)
        if os.waitpid(child, os.WNOHANG)[0] == 0:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if not said.endswith(b"\n"):
        return [_report(item, "failed", f"expected reports within {TIMEOUT_S:g} s, got {said.decode()!r}")]
    restore = item.config.hook.pytest_report_from_serializable
    reports = [restore(config=item.config, data=data) for data in json.loads(said)]
    for report in reports:
        if isinstance(report.longrepr, list):  # why it was skipped, which JSON has no tuple for
            report.longrepr = tuple(report.longrepr)
    return reports


def _run_in_sandbox(item: pytest.Item, reports: int, user: str | None) -> None:
    """In the child: never returns. What goes wrong before the test is written instead of the reports."""
    try:
        if user == "mapped":
            give_subordinate_ids()
        if user in ("ordinary", "mapped"):
            become_ordinary()
        sandbox.enter()
        results = runtestprotocol(item, log=False)
        to_data = item.config.hook.pytest_report_to_serializable
        answer = json.dumps([to_data(config=item.config, report=result) for result in results]) + "\n"
    except BaseException as error:  # noqa: BLE001  whatever it is, the parent must hear of it
        answer = repr(error)
    with os.fdopen(reports, "wb") as file:
        file.write(answer.encode())
    os._exit(0)


def _read_to_end(fd: int, timeout_s: float) -> bytes:
    """What is written until the writer closes or the time is over."""
    said, deadline = b"", time.monotonic() + timeout_s
    while (left_s := deadline - time.monotonic()) > 0 and select.select([fd], [], [], left_s)[0]:
        chunk = os.read(fd, 65_536)
        if not chunk:
            break
        said += chunk
        if said.endswith(b"]\n"):  # processes of the test may still hold the pipe
            break
    return said


def _report(item: pytest.Item, outcome: Any, longrepr: Any) -> pytest.TestReport:
    return pytest.TestReport(
        nodeid=item.nodeid,
        location=item.location,
        keywords=dict.fromkeys(item.keywords, 1),
        outcome=outcome,
        longrepr=longrepr,
        when="call" if outcome == "failed" else "setup",
    )
