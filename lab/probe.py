"""Can this machine run the lab? Each thing is tried as the lab will do it, in a sandbox that is gone afterwards.

It must never install or change anything: it names the command, the user runs it.
Its counterpart is `tamperlab doctor`.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

from lab import sandbox
from lab.errors import LabError

PROGRAMS = {
    "ip": "iproute2",
    "tc": "iproute2",
    "ethtool": "ethtool",
    "nft": "nftables",
    "iptables-restore": "iptables",
    "ip6tables-restore": "iptables",
    "mnexec": "mininet",
}
"""Program -> Debian package."""

MODULES = {"mininet": "sudo apt-get install mininet", "netfilterqueue": "make setup"}
"""Python module -> the command that brings it."""

_BOX_RULES = """
add table inet probe
add chain inet probe gate { type filter hook forward priority -150; }
add rule inet probe gate ct mark & 1 == 1 numgen inc mod 256 == 0 ct mark set ct mark | 2
add table netdev probe
add chain netdev probe untracked { type filter hook ingress device "lo" priority 0; }
add rule netdev probe untracked notrack
"""
"""A little of everything that the box's own rules ask of the kernel."""

_BOX_WORDS = """
add table inet words
add chain inet words gate
add rule inet words gate ip protocol tcp @nh,0,8 . @th,96,8 . ip length { 69 . 80 . 40 } accept
add rule inet words gate tcp doff vmap { 5 : accept }
"""
"""What some versions of nft cannot say: 1.0.2 of Ubuntu 22.04 refuses the one and dies of the other."""

_QUEUE_RULE = "*mangle\n-A FORWARD -m mark ! --mark 1 -j NFQUEUE --queue-num 1\nCOMMIT\n"


def probe() -> list[LabError]:
    """What is missing here, each with its fix; empty if the lab can run. Takes about a tenth of a second."""
    problems = list(missing())
    if problems:  # a trial that lacks its tools would only say so again
        return problems
    answer_r, answer_w = os.pipe()
    trial = os.fork()
    if trial == 0:
        os.close(answer_r)
        _try_in_sandbox(answer_w)
    os.close(answer_w)
    with os.fdopen(answer_r, "rb") as answer:
        lines = answer.read().decode().splitlines()
    os.waitpid(trial, 0)
    if lines[-1:] != ["end"]:
        problems.append(LabError("expected a sandbox to run, got no answer from it", "run it again as root"))
    fields = (line.split("\t") for line in lines if line != "end")
    return problems + [LabError(message, fix) for message, fix in fields]


def missing() -> Iterable[LabError]:
    """Programs and modules that no lab can do without and that are not here. Takes about a millisecond."""
    path = sandbox.program_path()
    for program, package in PROGRAMS.items():
        if shutil.which(program, path=path) is None:
            yield LabError(f"expected the program {program}, got none", f"sudo apt-get install {package}")
    for module, fix in MODULES.items():
        if importlib.util.find_spec(module) is None:
            yield LabError(f"expected the Python module {module}, got none", fix)


def _try_in_sandbox(answer: int) -> None:
    """In a child: enter a sandbox, try everything, write `message TAB fix` lines and `end`; never returns."""
    problems: list[LabError] = []
    try:
        sandbox.enter()
        for trial in (
            _try_nodes,
            _try_links,
            _try_rules,
            _try_words,
            _try_queue,
            _try_packet_socket,
            _try_ipv6,
            _try_names,
        ):
            try:
                trial()
            except LabError as error:
                problems.append(error)
    except LabError as error:
        problems.append(error)
    lines = [f"{error.message}\t{error.fix}\n" for error in problems]
    os.write(answer, "".join([*lines, "end\n"]).encode())
    os._exit(0)


def _try_nodes() -> None:
    _run(["mnexec", "-n", "true"], "a node's namespaces", "run as root with sudo")


def _try_links() -> None:
    argv = ["ip", "link", "add", "probe0", "type", "veth", "peer", "name", "probe1"]
    _run(argv, "veth links", "sudo modprobe veth")


def _try_rules() -> None:
    fix = "sudo modprobe -a nf_tables nft_ct nft_numgen nf_conntrack"
    _run(["nft", "--file", "-"], "nft with conntrack", fix, stdin=_BOX_RULES)


def _try_words() -> None:
    fix = "upgrade nftables to 1.0.6 or later (Debian 12, Ubuntu 24.04)"
    _run(["nft", "--file", "-"], "an nft that knows the box's words", fix, stdin=_BOX_WORDS)


def _try_queue() -> None:
    fix = "sudo modprobe -a nfnetlink_queue xt_NFQUEUE xt_mark nft_compat"
    for program in ("iptables-restore", "ip6tables-restore"):
        _run([program], f"{program} with NFQUEUE", fix, stdin=_QUEUE_RULE)
    from netfilterqueue import NetfilterQueue

    queue = NetfilterQueue()
    try:
        with warnings.catch_warnings():  # of a receive buffer that is smaller than asked for
            warnings.simplefilter("ignore", RuntimeWarning)
            queue.bind(1, lambda _packet: None)
    except OSError as error:
        raise LabError(f"expected a netfilter queue, got {str(error)!r}", fix) from error
    queue.unbind()


def _try_packet_socket() -> None:
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except OSError as error:
        message = f"expected an AF_PACKET socket, got {str(error)!r}"
        raise LabError(message, "sudo modprobe af_packet") from error


def _try_ipv6() -> None:
    if not Path("/proc/net/if_inet6").exists():
        raise LabError("expected IPv6, got a kernel without", "boot without ipv6.disable=1")


def _try_names() -> None:
    for name in ("resolv.conf", "hosts"):
        sandbox.bind_file(sandbox.MARKER, Path("/etc", name))


def _run(argv: list[str], what: str, fix: str, *, stdin: str = "") -> None:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[0]
        raise LabError(f"expected {what}, got {said!r}", fix)


def main() -> int:
    """`python -m lab.probe`: one line for each problem; exit status 3 if there is one."""
    problems = probe()
    for problem in problems:
        print(problem)
    return 3 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
