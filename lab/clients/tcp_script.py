"""A TCP client that does what a script says, line by line, and nothing else: for connections that go wrong.

The client is tcp_script_child.py, a process of its own on the host. At a `pause` it waits until something has been
done elsewhere (a router forgets, a line is cut); so what happens when never depends on the clock.
`connected`: every line was done.
"""

from __future__ import annotations

import errno
import json
import platform
import selectors
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lab.clients.base import Action, Client, ClientResult, Finished, Outcome, Target, Workplace
from lab.host import Host
from lab.services.base import end_process

PORT = 7000
CHILD = Path(__file__).with_name("tcp_script_child.py")
PAUSE, REPORT_MARK = "pause", "report: "

_OUTCOME_OF_ERRNO = {
    errno.ECONNRESET: Outcome.CONNECTION_RESET,
    errno.EPIPE: Outcome.CONNECTION_RESET,
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ETIMEDOUT: Outcome.TIMEOUT,
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
    errno.EACCES: Outcome.UNREACHABLE,
}


def classify(report: dict[str, Any] | None, exit_status: int | None) -> Outcome:
    """The outcome from the child's report: `ended` is `done`, `closed` or `error`; `errno` with the last."""
    if exit_status is None:
        return Outcome.TIMEOUT
    if report is None:
        return Outcome.FAILED
    if report["ended"] == "error":
        return _OUTCOME_OF_ERRNO.get(
            report["errno"], Outcome.NAME_ERROR if report["name"] else Outcome.FAILED
        )
    return Outcome.CONNECTED if report["ended"] == "done" else Outcome.CONNECTION_CLOSED


def run(host: Host, target: Target) -> ClientResult:
    """Connect and do what the target's script says; then close, and wait until the other side has, too."""
    workplace = Workplace.make(target, "tcp-script")
    settings = {
        "server": target.server_name,
        "port": target.port or PORT,
        "family": target.family,
        "script": [[action.verb, action.data.decode("latin-1"), action.size] for action in target.script],
    }
    settings_file = workplace.write("settings.json", json.dumps(settings).encode())
    argv = [sys.executable, "-I", "-S", str(CHILD), str(settings_file)]
    with (workplace.directory / "errors").open("wb") as errors:
        process = host.popen(
            argv, cwd=workplace.directory, env=workplace.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=errors,
        )  # fmt: skip
    begin = time.monotonic()
    pauses = [action for action in target.script if action.verb == PAUSE]
    lines = _converse(process, pauses, begin + target.time_limit_s)
    finished = Finished(
        tuple(argv),
        process.returncode if process.poll() is not None and not lines.timed_out else None,
        time.monotonic() - begin,
        lines.text,
        (workplace.directory / "errors").read_text(errors="replace"),
    )
    return finished.result(
        classify(lines.report, finished.exit_status), f"Python {platform.python_version()}"
    )


class _Lines:
    """What the child said."""

    def __init__(self) -> None:
        self.text = ""
        self.timed_out = False

    @property
    def report(self) -> dict[str, Any] | None:
        last = self.text.splitlines()[-1:]
        if not last or not last[0].startswith(REPORT_MARK):
            return None
        report: dict[str, Any] = json.loads(last[0].removeprefix(REPORT_MARK))
        return report


def _converse(process: subprocess.Popen[bytes], pauses: list[Action], deadline: float) -> _Lines:
    """Read the child to its end or the time limit; at each pause do what is to be done, then let it go on."""
    assert process.stdout is not None and process.stdin is not None
    lines = _Lines()
    waiting = iter(pauses)
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(deadline - time.monotonic(), 0)):
            line = process.stdout.readline()
            if not line:
                process.wait()
                break
            lines.text += line.decode(errors="replace")
            if line.strip() == PAUSE.encode():
                action = next(waiting)
                assert action.at_pause is not None
                action.at_pause()
                process.stdin.write(b"go on\n")
                process.stdin.flush()
        else:
            lines.timed_out = True
            end_process(process, timeout_s=0)
    process.stdin.close()
    process.stdout.close()
    return lines


CLIENTS = (Client("tcp-script", PORT, run),)
