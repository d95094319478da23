"""A running lab: `with Lab(IspTopology(...), run_dir=...) as lab:`, inside a sandbox.

Mininet makes the nodes (a network and mount namespace with a shell each). Links, addresses, routes and sysctls
are then set in batches, because a command for each is what makes a large topology slow. The batches are kept in
`run_dir/network/`, to be read: `links.ip` for `ip -batch`, and a shell script for each node.

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
import sys
import time
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import link, sandbox
from lab.capture import CapturePoint, Captures
from lab.errors import LabError
from lab.helper import Helper
from lab.host import POLL_S, Box, Host
from lab.link import LinkMethod, LinkSpec
from lab.network import OFFLOADS, ROUTER_SYSCTLS, SYSCTLS, links_batch, node_script
from lab.topology import IspTopology, Role

_finders = sys.meta_path[:]
with warnings.catch_warnings():
    # Mininet 2.3.0 imports distutils, deprecated since Python 3.10; Debian's package brings it along
    warnings.simplefilter("ignore", DeprecationWarning)
    if sys.version_info < (3, 12):
        # Python's own, not the one that setuptools puts in its place: that takes a tenth of a second to import
        sys.meta_path[:] = [finder for finder in _finders if type(finder).__name__ != "DistutilsMetaFinder"]
    import mininet.log
    from mininet.link import Intf, Link
    from mininet.net import Mininet
    from mininet.node import Node as MininetNode
    from mininet.topo import Topo
sys.meta_path[:] = _finders

# Mininet.init() would raise limits of the whole machine (fs.file-max, kernel.pty.max) when root and print
# "Error setting resource limits" when not; the lab needs none of them.
Mininet.inited = True


class Lab:
    """The network of a topology, up from `__enter__` to `__exit__`.

    run_dir: where the lab writes, an empty directory. links: see `link.wire_specs`; seed: of their dice.
    offloads: leave segmentation and checksum offload on at the ends, for speed; without, captures show what a
    wire would show.
    ValueError: a link that is not there. LabError: outside a sandbox, or the machine refused something.
    """

    def __init__(
        self,
        topology: IspTopology,
        *,
        run_dir: Path,
        links: Mapping[str, LinkSpec] | None = None,
        offloads: bool = False,
        seed: int = 0,
    ) -> None:
        self.topology = topology
        self._specs = link.wire_specs(topology, links or {})
        self._seed = seed
        self._delay_line: Helper | None = None
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

    def capture(self, names: Iterable[str]) -> Captures:
        """Begin to capture into `run_dir/captures/NAME.pcapng`; see `lab/capture.py` for what to do next.

        names: hosts (their first interface), and `box-inside`, `box-outside`. Once per lab.
        """
        directory = self.run_dir / "captures"
        directory.mkdir()
        sides = {
            "box-inside": (self.box.pid, self.box.inside_interface),
            "box-outside": (self.box.pid, self.box.outside_interface),
        }
        points = []
        for name in names:
            pid, interface = (
                sides[name] if name in sides else (self.hosts[name].pid, self.hosts[name].interface)
            )
            points.append(CapturePoint(name, pid, interface, directory / f"{name}.pcapng"))
        captures = Captures(
            points, config_path=self.run_dir / "network" / "captures.json", large_packets=self.offloads
        )
        self._cleanup.callback(captures.end)
        return captures

    def wait_until_quiet(self, *, timeout_s: float = 30.0) -> None:
        """Return once no packet is on its way: none is held by a link or by a queue of the box.

        LabError: packets were still under way after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        quiet = 0
        while quiet < 2:  # a packet can be between two queues while we look
            quiet = 0 if any(_queue_counts(host.pid)[0] for host in self.hosts.values()) else quiet + 1
            if time.monotonic() > deadline:
                raise LabError(
                    f"expected all traffic to have ended after {timeout_s:g} s, got packets still under way",
                    "end the programs that send before stopping the captures",
                )
            time.sleep(POLL_S)
        if self.facts["links"]["method"] == LinkMethod.NETEM.value:
            # netem does not say what it holds: what was sent before now has arrived after the longest way
            time.sleep(sum(spec.delay_ns + spec.jitter_ns for _, spec in self._specs) / 1e9)

    def __enter__(self) -> Self:
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
        self._net = Mininet(
            topo=_to_mininet(self.topology), controller=None, switch=None, host=_Node, link=_Link, intf=_Intf
        )
        self._cleanup.callback(self._stop_nodes)
        pids = {name: self._net[name].pid for name in self.topology.nodes}
        for name, node in self.topology.nodes.items():
            if node.role is Role.BOX:
                self.hosts[name] = Box(
                    node,
                    pids[name],
                    self._started,
                    inside=self.topology.inside_interface,
                    outside=self.topology.outside_interface,
                )
            else:
                self.hosts[name] = Host(node, pids[name], self._started)
        self._configure(pids)
        if self._delay_line is not None:
            self._delay_line.wait_ready()
            self._cleanup.callback(self._stop_delay_line, self._delay_line)
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
        link_lines = self._start_links(pids)
        running = []
        for name, node in self.topology.nodes.items():
            script = directory / f"{name}.sh"
            script.write_text(node_script(node, offloads=self.offloads, link_lines=link_lines[name]))
            argv = ["sh", "-eu", str(script)]
            running.append(
                (name, self.hosts[name].popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE))
            )
        taken: dict[str, str] = {}
        for name, process in running:
            stdout, stderr = process.communicate()
            self._started.remove(process)
            _check(f"network/{name}.sh", subprocess.CompletedProcess([], process.returncode, stdout, stderr))
            taken |= dict(line.split("=", 1) for line in stdout.decode().splitlines())
        self.facts["sysctls"] = {name: taken[name] for name in (*SYSCTLS, *ROUTER_SYSCTLS)}

    def _start_links(self, pids: Mapping[str, int]) -> dict[str, list[str]]:
        """Choose how links are delayed, start what that needs; the lines that each node must run for it."""
        method = link.choose_method(self._specs)
        self.facts["links"] = {
            "method": method.value,
            "shaped": {wire.name: asdict(spec) for wire, spec in self._specs},
        }
        if method is LinkMethod.NFQUEUE:
            plan = link.plan_delay_line(self._specs)
            config = link.delay_line_config(plan, pids, seed=self._seed)
            self._delay_line = Helper("lab.delay_line", config, self.run_dir / "network" / "delay-line.json")
            self._cleanup.callback(self._delay_line.end)
            return {name: link.delay_line_lines(name, plan) for name in self.topology.nodes}
        netem = link.plan_netem(self.topology, self._specs)
        return {name: link.netem_lines(name, netem) for name in self.topology.nodes}

    def _stop_delay_line(self, helper: Helper) -> None:
        """Let everything go that is still held; note what was done, and what the kernel had to drop."""
        dropped = {name: _queue_counts(host.pid)[1] for name, host in self.hosts.items()}
        self.facts["links"] |= {
            **helper.stop(),
            "overflowed": {name: count for name, count in dropped.items() if count},
        }

    def _use_own_names(self) -> None:
        """Names resolve through the lab's DNS only, not the machine's resolver or its hosts file."""
        directory = self.run_dir / "etc"
        directory.mkdir()
        dns = self.topology.nodes.get("dns")
        servers = [] if dns is None else [dns.ends[0].ipv4, dns.ends[0].ipv6]
        own = sandbox.HOSTNAME
        files = {
            "resolv.conf": "".join(f"nameserver {address}\n" for address in servers) + "options timeout:1\n",
            "hosts": f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {own}.example {own}\n",
        }
        for name, text in files.items():
            (directory / name).write_text(text)
            sandbox.bind_file(directory / name, Path("/etc") / name)
            self._cleanup.callback(sandbox.unmount, f"/etc/{name}")

    def _stop_nodes(self) -> None:
        """End every process in the nodes' namespaces, shells too; namespaces and links go with the last."""
        held = {Path(f"/proc/{host.pid}/ns/net").stat().st_ino for host in self.hosts.values()}
        while found := list(
            _processes_in(held)
        ):  # one that forks while we look leaves a child to be found again
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_S)
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
            for path in (Path(directory), *(Path(directory, name) for name in names)):
                if path.lstat().st_uid != 0:
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
    def makeIntfPair(cls, *_args: object, **_kwargs: object) -> None:  # noqa: N802  Mininet's name
        pass

    def stop(self) -> None:
        pass


def _processes_in(namespaces: Collection[int]) -> Iterator[int]:
    """Living processes in one of these network namespaces (inodes); only our own are visible in this PID namespace."""
    for entry in Path("/proc").glob("[1-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # they come and go while we look
            if (entry / "ns" / "net").stat().st_ino in namespaces and "\nState:\tZ" not in (
                entry / "status"
            ).read_text():
                yield int(entry.name)


def _to_mininet(topology: IspTopology) -> Topo:
    topo = Topo()
    for name in topology.nodes:
        topo.addHost(name)
    for wire in topology.wires:
        topo.addLink(
            wire.near.node,
            wire.far.node,
            intfName1=wire.near.interface,
            intfName2=wire.far.interface,
            addr1=wire.near.mac,
            addr2=wire.far.mac,
        )
    return topo


def _queue_counts(pid: int) -> tuple[int, int]:
    """Of all NFQUEUEs in the namespace of `pid`: packets that wait, packets dropped for want of room."""
    # columns: queue, port id, waiting, copy mode, copy range, dropped, dropped for user space, ...
    table = Path(f"/proc/{pid}/net/netfilter/nfnetlink_queue").read_text()
    rows = [[int(word) for word in line.split()] for line in table.splitlines()]
    return sum(row[2] for row in rows), sum(row[5] + row[6] for row in rows)


def _check(what: str, done: subprocess.CompletedProcess[bytes]) -> None:
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or [
            f"exit status {done.returncode}"
        ]
        raise LabError(f"expected {what} to succeed, got {reason[0]!r}", "make doctor shows what is missing")
