"""What all services share: the host they run on, readiness, and their end.

A service is one or more processes started as argv on a host, with every file it writes below its own folder.
It is ready when its ports are listening, which is read from the kernel's socket tables of the service's own
network namespace: no probe connection ever appears on the wire or in a server's log. It is ended by process id.

Must never: start anything through the machine's service manager, or write outside the folder it was given.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import LabError
from lab.host import Host

READY_POLL_S = 0.005
"""How often the socket tables are read while waiting (chosen)."""

READY_TIMEOUT_S = 20.0
"""How long a server may take to listen before it counts as broken (chosen; all of them need under 1 s)."""

TERMINATE_TIMEOUT_S = 3.0
"""Time between SIGTERM and SIGKILL (chosen)."""

LISTEN_STATE = "0A"
"""TCP_LISTEN in /proc/net/tcp (include/net/tcp_states.h of Linux)."""

OUTPUT = "output.log"
"""File in a service's folder with what its processes print."""

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Port:
    """A port that must be listening before the service is ready; transport: tcp or udp."""

    number: int
    transport: str = "tcp"


def find_program(name: str, *, package: str, path: str = SYSTEM_PATH) -> str:
    """Absolute path of a program. LabError names the Debian package that brings it."""
    found = shutil.which(name, path=path)
    if found is None:
        raise LabError(f"expected the program {name}, got none on {path}", f"apt-get install {package}")
    return found


def listening_ports(pid: int) -> set[Port]:
    """Ports that are listening in the network namespace of process `pid`, over either IP version.

    Source: proc(5), /proc/PID/net/{tcp,tcp6,udp,udp6}. An unconnected UDP socket counts as listening.
    """
    found: set[Port] = set()
    for transport in ("tcp", "udp"):
        for suffix in ("", "6"):
            try:
                table = Path(f"/proc/{pid}/net/{transport}{suffix}").read_text()
            except OSError:
                continue
            for row in table.splitlines()[1:]:
                _, local, remote, state = row.split()[:4]
                if state == LISTEN_STATE or (transport == "udp" and remote.endswith(":0000")):
                    found.add(Port(int(local.rpartition(":")[2], 16), transport))
    return found


@dataclass(slots=True)
class Service:
    """A running server.

    name: of the service (`mail`, `web`, …)
    directory: everything the service reads and writes
    processes: its processes, the first is the one whose end is the service's end
    ports: what must listen before it is ready
    log: file with the server's own messages, quoted when it fails to start
    facts: what belongs in result.json and what a client needs to know (user names, files, versions)
    patience_s: how long it may take to end after SIGTERM; after that it is killed
    """

    name: str
    directory: Path
    processes: list[subprocess.Popen[bytes]]
    ports: tuple[Port, ...]
    log: Path
    facts: dict[str, object] = field(default_factory=dict)
    patience_s: float = TERMINATE_TIMEOUT_S

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when all ports are listening. LabError: the server ended, or took too long."""
        deadline = time.monotonic() + timeout_s
        wanted = set(self.ports)
        while True:
            missing = wanted - listening_ports(self.processes[0].pid)
            if not missing:
                return
            for process in self.processes:
                if process.poll() is not None:
                    raise self._not_ready(f"an end with status {process.returncode}")
            if time.monotonic() > deadline:
                numbers = ", ".join(f"{port.transport}/{port.number}" for port in sorted(missing, key=str))
                raise self._not_ready(f"nothing listening on {numbers} after {timeout_s:g} s")
            time.sleep(READY_POLL_S)

    def stop(self) -> None:
        """End all processes, by process id; return when they are gone. A second call does nothing."""
        for process in self.processes:
            end_process(process, timeout_s=self.patience_s)

    def log_tail(self, lines: int = 8) -> str:
        """The last lines of the server's log, or of what it printed if it has not begun a log; may be empty."""
        for file in (self.log, *sorted(self.directory.rglob(OUTPUT))):
            text = file.read_text(errors="replace") if file.exists() else ""
            if text:
                return "\n".join(text.splitlines()[-lines:])
        return ""

    def _not_ready(self, found: str) -> LabError:
        said = self.log_tail(3)
        return LabError(f"expected service {self.name} to be ready, got {found}: {said}", read=self.directory)


def end_process(process: subprocess.Popen[bytes], timeout_s: float = TERMINATE_TIMEOUT_S) -> None:
    """SIGTERM, then SIGKILL after `timeout_s`, to the process and to what is left of its session."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    try:
        # The process led its own session (contract of Host.popen), so its group holds only its own children.
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def with_own_run(argv: Sequence[str]) -> list[str]:
    """The same program with an empty /run that no other sees.

    For programs with one fixed file there, a process ID or a socket: all hosts of the lab share a /run, and one's
    program would take another's for its own.
    """
    mounted = 'mount -t tmpfs -o mode=755 run /run && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", mounted, "sh", *argv]


def start_process(host: Host, argv: Sequence[str], directory: Path) -> subprocess.Popen[bytes]:
    """Start a server's process; what it prints is appended to `OUTPUT` in `directory`."""
    with (directory / OUTPUT).open("ab") as stream:
        return host.popen(argv, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)
