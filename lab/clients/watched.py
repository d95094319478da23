"""Clients that would go on for ever: what such a program prints is read until it decides, then the program is ended.

Must never: wait for anything but output or the time limit.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Sequence

from lab.clients.base import Finished, Workplace
from lab.host import Host
from lab.services.base import end_process

_READ_BYTES = 65_536
STARTS_WITHIN_S = 30.0
"""Those programs need a tenth of a second on an idle machine (chosen)."""


def watch_program(
    host: Host, argv: Sequence[str], *, workplace: Workplace, tries: str, decided_by: Sequence[str], time_limit_s: float
) -> Finished:  # fmt: skip
    """Run a program until it prints one of the words in `decided_by`, ends, or has tried for too long.

    tries: what it prints when it begins to try; from then on the time limit counts, however long its start has taken.
    The exit status of a program that was ended because it had decided is that which it then had.
    """
    begin = time.monotonic()
    process = host.popen(
        list(argv), cwd=workplace.directory, env=workplace.environment, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    with process.stdout:
        text, in_time = _read_until_decided(process.stdout.fileno(), tries, decided_by, time_limit_s)
        end_process(process)
    status = process.returncode if in_time else None
    return Finished(tuple(argv), status, time.monotonic() - begin, text, "")


def _read_until_decided(
    output: int, tries: str, decided_by: Sequence[str], limit_s: float
) -> tuple[str, bool]:
    """What it printed, and False if the time was over before it had decided.

    output: the file descriptor, not a stream with a buffer in which lines could wait unseen
    """
    deadline = time.monotonic() + STARTS_WITHIN_S + limit_s
    trying = False
    text = ""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while selector.select(max(deadline - time.monotonic(), 0)):
            piece = os.read(output, _READ_BYTES).decode(errors="replace")
            text += piece
            if not piece or any(words in text for words in decided_by):
                return text, True
            if not trying and tries in text:
                trying = True
                deadline = time.monotonic() + limit_s
    return text, False
