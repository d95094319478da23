"""A host of the lab and the way to start programs on it. The box is one too, with two sides.

Programs run in the node's network and mount namespaces, by Mininet's `mnexec`, in a session of their own: they are
ended by pid or process group, never by name, and those that are left end with the lab.
Its counterpart is `lab/lab.py`, which makes the hosts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from lab.errors import LabError
from lab.netns import in_network_of
from lab.topology import Node

POLL_S = 0.002
"""How often a condition that the kernel does not announce is looked at."""

FIRST_FRESH_PORT = 24_000
"""Below those that the kernel gives by itself (ip_local_port_range, from 32,768 on), above those that scenarios name
for a step, from 20,000 on (chosen)."""

_TCP_LISTEN, _UDP_OPEN = "0A", "07"
"""States in /proc/net/tcp and /proc/net/udp."""


class Host:
    """A node of the lab and the way to start programs on it."""

    def __init__(self, node: Node, pid: int, started: list[subprocess.Popen[bytes]]) -> None:
        self.name = node.name
        self.role = node.role
        self.pid = pid
        """Of the shell that holds its namespaces."""
        self.interfaces = [end.interface for end in node.ends]
        self.interface = node.ends[0].interface
        self.ipv4 = node.ends[0].ipv4
        self.ipv6 = node.ends[0].ipv6
        self._started = started
        self._next_port = FIRST_FRESH_PORT
        self._ports_lock = threading.Lock()

    def fresh_ports(self, count: int = 1) -> int:
        """The first of so many port numbers in a row that were given to nobody on this host before.

        The kernel gives a port again as soon as it is free, so two connections of a run may have the same name.
        """
        with self._ports_lock:  # steps may run together
            first = self._next_port
            self._next_port += count
        return first

    def reserve_ports(self, ports: Iterable[range]) -> None:
        """Have the kernel give none of these to programs that ask for no certain one; in place of those before."""
        words = ",".join(f"{some.start}-{some.stop - 1}" for some in ports)
        with in_network_of(self.pid):
            Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text(words + "\n")

    def popen(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: int | IO[Any] | None = None,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a program on this host, in a session of its own. It ends with the lab if not before.

        stdin None: nothing to read. OSError: no such `cwd`. A program that does not exist: exit status 1.
        """
        process = subprocess.Popen(
            ["mnexec", "-a", str(self.pid), *argv],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        self._started.append(process)
        return process

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | str | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program on this host to its end; output and errors are kept.

        LabError: it took longer than `timeout_s`; it was killed, and all that it had started.
        """
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(
            argv, cwd=cwd, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process:
            try:
                stdout, stderr = process.communicate(input, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                _kill_group(process)
                raise LabError(
                    f"expected {argv[0]} to end on {self.name} within {timeout_s:g} s, got it running still",
                    "end what else keeps this machine busy, and try again",
                ) from None
            except BaseException:
                _kill_group(process)
                raise
            finally:
                self._started.remove(process)
        return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)

    def wait_for_port(self, port: int, *, timeout_s: float, protocol: str = "tcp") -> None:
        """Return once a program listens on `port`, on any address. LabError: none does after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.listens_on(port, protocol=protocol):
            if time.monotonic() > deadline:
                raise LabError(
                    f"expected {self.name} to listen on {protocol} port {port} in {timeout_s:g} s, got nothing",
                    "read the log of the service",
                )
            time.sleep(POLL_S)

    def listens_on(self, port: int, *, protocol: str = "tcp") -> bool:
        """True if a program listens on this tcp or udp port now, over IPv4 or IPv6."""
        wanted_port, wanted_state = f":{port:04X}", _TCP_LISTEN if protocol == "tcp" else _UDP_OPEN
        for table in (protocol, f"{protocol}6"):
            for line in Path(f"/proc/{self.pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state = line.split(maxsplit=4)[:4]
                if state == wanted_state and local.endswith(wanted_port):
                    return True
        return False

    def __repr__(self) -> str:
        return f"<{self.name} {self.ipv4} {self.ipv6}>"


class Box(Host):
    """The node in the middle, with its two interfaces."""

    def __init__(
        self, node: Node, pid: int, started: list[subprocess.Popen[bytes]], *, inside: str, outside: str
    ) -> None:
        super().__init__(node, pid, started)
        self.inside_interface = inside
        self.outside_interface = outside


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
