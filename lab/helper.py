"""A helper process of the lab: a file tells it what to do, it says when it is ready, and at its end what it did.

Its counterparts are `lab/delay_line.py` and `lab/capture_process.py`: each prints one JSON line when it serves
and, on SIGTERM, one more, and ends. It must never outlive its lab.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from lab.errors import LabError

READY_WITHIN_S = 30.0
"""Generous: a helper is ready in about 50 ms on an idle machine."""

_SOURCE = Path(__file__).resolve().parent.parent


class Helper:
    """`python -m module config_path`, running. Its errors go to `config_path` with the ending `.log`."""

    def __init__(self, module: str, config: Mapping[str, Any], config_path: Path) -> None:
        self.module = module
        self._stopped = False
        self._log = config_path.with_suffix(".log")
        config_path.write_text(json.dumps(config, indent=1) + "\n")
        path = os.environ.get("PYTHONPATH")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, str(config_path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PYTHONPATH": f"{_SOURCE}{os.pathsep}{path}" if path else str(_SOURCE)},
                start_new_session=True,
            )

    def wait_ready(self) -> dict[str, Any]:
        """Its first line. LabError: it ended, or took longer than READY_WITHIN_S."""
        return self._read_line(READY_WITHIN_S)

    def stop(self) -> dict[str, Any]:
        """Ask it to end; its last line, after which it only tidies up. LabError: it had ended before, or hangs."""
        self._stopped = True
        self._process.terminate()
        return self._read_line(READY_WITHIN_S)

    def end(self) -> None:
        """See it gone: if `stop` asked it to, it is given time; if not, it is killed. Twice is once."""
        if not self._stopped:
            self._process.kill()
        try:
            self._process.wait(READY_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._stdout.close()

    @property
    def _stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _read_line(self, timeout_s: float) -> dict[str, Any]:
        line, deadline = b"", time.monotonic() + timeout_s
        fd = self._stdout.fileno()
        while not line.endswith(b"\n"):
            left_s = deadline - time.monotonic()
            chunk = os.read(fd, 65_536) if left_s > 0 and select.select([fd], [], [], left_s)[0] else b""
            if not chunk:
                said = self._log.read_text(errors="replace").strip().splitlines() or ["nothing"]
                raise LabError(f"expected {self.module} to answer, got {said[-1]!r}", read=self._log)
            line += chunk
        answer: dict[str, Any] = json.loads(line)
        return answer
