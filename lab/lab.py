"""A running lab: `with Lab(IspTopology(...), run_dir=...) as lab:`, inside a sandbox.

Mininet makes the nodes (a network and mount namespace with a shell each); links, addresses, routes and sysctls
are then set in two batches, because a command per setting is what makes a large topology slow. Both batches are
kept in `run_dir/network/`, to be read: `links.ip` for `ip -batch`, and a shell script for each node.

It must never run outside a sandbox, call Mininet's clean-up (which deletes and kills by pattern, on the whole
machine) or end a process that the lab did not start. It knows no rule; the box is handed to `lab.box.popen`.
Its counterparts: `lab/sandbox.py` around it, `lab/topology.py`, `lab/link.py` and `lab/capture.py` in it.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import subprocess
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from lab import sandbox
from lab.errors import LabError
from lab.network import OFFLOADS, ROUTER_SYSCTLS, SYSCTLS, links_batch, node_script
from lab.topology import IspTopology, Node, Role

with warnings.catch_warnings():
    # Mininet 2.3.0 imports distutils, deprecated since Python 3.10; Debian's package brings it along
    warnings.simplefilter("ignore", DeprecationWarning)
    import mininet.log
    from mininet.link import Intf, Link
    from mininet.net import Mininet
    from mininet.node import Node as MininetNode
    from mininet.topo import Topo

POLL_S = 0.002
"""How often a condition that the kernel does not announce is looked at."""

_TCP_LISTEN, _UDP_OPEN = "0A", "07"
"""States in /proc/net/tcp and /proc/net/udp."""

# Mininet.init() would raise limits of the whole machine (fs.file-max, kernel.pty.max) when root and print
# "Error setting resource limits" when not; the lab needs none of them.
Mininet.inited = True


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

        stdin None: nothing to read. OSError: cwd does not exist; a program that does not exist ends with status 1.
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

        subprocess.TimeoutExpired (with the output so far): it took longer than `timeout_s`; it was killed.
        """
        stdin = subprocess.DEVNULL if input is None else subprocess.PIPE
        process = self.popen(
            argv, cwd=cwd, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        with process:
            try:
                stdout, stderr = process.communicate(input, timeout=timeout_s)
            except BaseException:
                _kill_group(process)
                raise
            finally:
                self._started.remove(process)
        return subprocess.CompletedProcess(list(argv), process.returncode, stdout, stderr)

    def wait_for_port(self, port: int, *, timeout_s: float, protocol: str = "tcp") -> None:
        """Return once a program listens on `port` here, on any address. LabError: none does after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while not self.listens_on(port, protocol=protocol):
            if time.monotonic() > deadline:
                raise LabError(
                    f"expected {self.name} to listen on {protocol} port {port} within {timeout_s:g} s, got nothing",
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


class Lab:
    """The network of a topology, up from `__enter__` to `__exit__`.

    run_dir: where the lab writes; must exist. offloads: leave segmentation and checksum offload on at the ends, for
    speed; otherwise captures show what a wire would show.
    LabError: outside a sandbox, or the machine refused something.
    """

    def __init__(self, topology: IspTopology, *, run_dir: Path, offloads: bool = False) -> None:
        self.topology = topology
        self.run_dir = run_dir
        self.offloads = offloads
        self.hosts: dict[str, Host] = {}
        self.facts: dict[str, Any] = {}
        self._started: list[subprocess.Popen[bytes]] = []
        self._net: Any = None
        self._cleanup = contextlib.ExitStack()

    @property
    def box(self) -> Box:
        """The node in the middle."""
        box = self.hosts[IspTopology.BOX]
        assert isinstance(box, Box)
        return box

    def __enter__(self) -> Lab:
        if not sandbox.inside():
            raise LabError("expected a sandbox, got the machine itself", "call lab.sandbox.enter() first")
        began = time.monotonic()
        try:
            self._start()
        except BaseException:
            self._cleanup.close()
            raise
        self.facts["start_s"] = round(time.monotonic() - began, 3)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def _start(self) -> None:
        self._cleanup.callback(self._give_back_files)
        self._use_own_names()
        mininet.log.setLogLevel("error")
        self._net = Mininet(topo=_to_mininet(self.topology), controller=None, switch=None, host=_Node,
                            link=_Link, intf=_Intf)
        self._cleanup.callback(self._stop_nodes)
        pids = {name: self._net[name].pid for name in self.topology.nodes}
        for name, node in self.topology.nodes.items():
            if node.role is Role.BOX:
                self.hosts[name] = Box(
                    node, pids[name], self._started,
                    inside=self.topology.inside_interface, outside=self.topology.outside_interface,
                )
            else:
                self.hosts[name] = Host(node, pids[name], self._started)
        self._configure(pids)
        self.facts |= {
            "kernel": platform.release(),
            "sandbox": sandbox.facts(),
            "offloads": "on" if self.offloads else f"off at the ends: {' '.join(OFFLOADS)}",
        }

    def _configure(self, pids: Mapping[str, int]) -> None:
        """Make the links and set every node up, in parallel."""
        directory = self.run_dir / "network"
        directory.mkdir()
        batch = directory / "links.ip"
        batch.write_text(links_batch(self.topology, pids))
        _check("ip -batch", subprocess.run(["ip", "-batch", str(batch)], capture_output=True, check=False))
        running = []
        for name, node in self.topology.nodes.items():
            script = directory / f"{name}.sh"
            script.write_text(node_script(node, offloads=self.offloads))
            argv = ["sh", "-eu", str(script)]
            running.append((name, self.hosts[name].popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)))
        taken: dict[str, str] = {}
        for name, process in running:
            stdout, stderr = process.communicate()
            self._started.remove(process)
            _check(f"network/{name}.sh", subprocess.CompletedProcess([], process.returncode, stdout, stderr))
            taken |= dict(line.split("=", 1) for line in stdout.decode().splitlines())
        self.facts["sysctls"] = {name: taken[name] for name in (*SYSCTLS, *ROUTER_SYSCTLS)}

    def _use_own_names(self) -> None:
        """Names resolve through the lab's DNS only, not the machine's resolver or its hosts file."""
        directory = self.run_dir / "etc"
        directory.mkdir()
        dns = self.topology.nodes.get("dns")
        servers = [] if dns is None else [dns.ends[0].ipv4, dns.ends[0].ipv6]
        files = {
            "resolv.conf": "".join(f"nameserver {address}\n" for address in servers) + "options timeout:1\n",
            "hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {sandbox.HOSTNAME}.example {sandbox.HOSTNAME}\n",
        }
        for name, text in files.items():
            (directory / name).write_text(text)
            sandbox.bind_file(directory / name, Path("/etc") / name)
            self._cleanup.callback(sandbox.unmount, f"/etc/{name}")

    def _stop_nodes(self) -> None:
        """End every process in the nodes' namespaces, shells included; namespaces and links go with the last."""
        held = {os.stat(f"/proc/{host.pid}/ns/net").st_ino for host in self.hosts.values()}
        for entry in os.listdir("/proc"):
            # processes come and go while we look; only our own are visible in this PID namespace
            with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
                if os.stat(f"/proc/{int(entry)}/ns/net").st_ino in held:
                    os.kill(int(entry), signal.SIGKILL)
        for process in self._started:
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self._started.clear()
        self._net.stop()

    def _give_back_files(self) -> None:
        """Files that servers made under other user ids become the user's own, so that he can delete them."""
        if sandbox.facts()["mode"] != "mapped":
            return
        for directory, _, names in os.walk(self.run_dir):
            for path in (directory, *(os.path.join(directory, name) for name in names)):
                if os.lstat(path).st_uid != 0:
                    os.chown(path, 0, 0, follow_symlinks=False)


class _Node(MininetNode):  # type: ignore[misc]
    """A Mininet node that leaves its addresses to the batch."""

    def config(self, **_params: object) -> dict[str, object]:
        return {}


class _Intf(Intf):  # type: ignore[misc]
    """A Mininet interface that leaves its state to the batch."""

    def config(self, **_params: object) -> dict[str, object]:
        return {}


class _Link(Link):  # type: ignore[misc]
    """A Mininet link that is made by the batch and goes with its namespaces."""

    @classmethod
    def makeIntfPair(cls, *_args: object, **_kwargs: object) -> None:  # noqa: N802 (Mininet's name)
        pass

    def stop(self) -> None:
        pass


def _to_mininet(topology: IspTopology) -> Topo:
    topo = Topo()
    for name in topology.nodes:
        topo.addHost(name)
    for wire in topology.wires:
        topo.addLink(
            wire.near.node, wire.far.node, intfName1=wire.near.interface, intfName2=wire.far.interface,
            addr1=wire.near.mac, addr2=wire.far.mac,
        )
    return topo


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _check(what: str, done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit status {done.returncode}"]
        raise LabError(f"expected {what} to succeed, got {reason[0]!r}", "tamperlab doctor shows what is missing")
