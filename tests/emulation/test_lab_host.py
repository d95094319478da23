"""Emulation: programs on hosts: where they run, how they end, when a port answers."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.host import Host
from lab.lab import Lab
from lab.netns import in_network_of
from lab.topology import IspTopology
from tests.emulation.conftest import wait_for_end, watch

pytestmark = pytest.mark.sandboxed


@pytest.fixture
def host(run_dir: Path) -> Iterator[Host]:
    """The mail server of a small lab."""
    with Lab(IspTopology(), run_dir=run_dir) as lab:
        yield lab.hosts["mail"]


def test_host_program_sees_this_hosts_network_only(host: Host) -> None:
    """A program's interfaces are those of its host."""
    seen = host.run(["ls", "/sys/class/net"], timeout_s=30).stdout.decode().split()
    assert sorted(seen) == ["lo", "mail-eth0"]


def test_host_run_gives_status_output_input_environment_and_directory(host: Host, run_dir: Path) -> None:
    """Everything that is handed to a program arrives, and everything that it says comes back."""
    script = 'cat; echo "$WORD"; pwd; echo trouble >&2; exit 7'
    done = host.run(
        ["sh", "-c", script], timeout_s=30, input=b"in\n", env={**os.environ, "WORD": "env"}, cwd=run_dir
    )
    assert (done.returncode, done.stderr) == (7, b"trouble\n")
    assert done.stdout.decode().split() == ["in", "env", str(run_dir)]


def test_host_run_that_takes_too_long_is_killed_with_its_children(host: Host, run_dir: Path) -> None:
    """After the timeout neither the program nor what it started is alive; the error says which, where and how long."""
    script = f"sleep 1000 & echo $! > {run_dir}/child; wait"
    with pytest.raises(LabError, match=r"expected sh to end on .* within 2 s, got it running still"):
        host.run(["sh", "-c", script], timeout_s=2)
    with contextlib.suppress(ProcessLookupError):  # gone already
        wait_for_end(watch([int((run_dir / "child").read_text())]))


def test_host_popen_leads_a_session_of_its_own(host: Host) -> None:
    """A program's pid is its process group and session, so that all of it can be signalled at once."""
    process = host.popen(["cat"], stdin=subprocess.PIPE)
    assert os.getsid(process.pid) == os.getpgid(process.pid) == process.pid
    process.communicate(timeout=5)
    assert process.returncode == 0


def test_host_fresh_ports_are_given_once_and_never_by_the_kernel(host: Host) -> None:
    """However many are asked for at the same time; what the kernel gives begins above them."""
    with ThreadPoolExecutor(8) as pool:
        firsts = sorted(pool.map(host.fresh_ports, [5] * 200))
    assert firsts == list(range(firsts[0], firsts[0] + 1000, 5))
    own = host.run(["cat", "/proc/sys/net/ipv4/ip_local_port_range"], timeout_s=30).stdout.split()
    assert firsts[-1] + 5 < int(own[0])


def test_host_reserved_ports_are_never_given_by_the_kernel(host: Host) -> None:
    """All but two of its ports are reserved: it gives these two, and who names a reserved one gets it all the same."""
    host.reserve_ports([range(20_000, 20_001), range(32_768, 50_000), range(50_002, 61_000)])
    with in_network_of(host.pid):
        asked = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    asked[0].bind(("", 0))
    asked[1].bind(("", 0))
    asked[2].bind(("", 40_000))
    assert {one.getsockname()[1] for one in asked[:2]} == {50_000, 50_001}
    for one in asked:
        one.close()


def test_host_popen_hands_file_descriptors_on(host: Host) -> None:
    """A descriptor in `pass_fds` can be written to by the program."""
    read_fd, write_fd = os.pipe()
    process = host.popen(["bash", "-c", f"echo hello >&{write_fd}"], pass_fds=[write_fd])
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as file:
        assert file.read() == b"hello\n"
    assert process.wait() == 0


def test_host_wait_for_port_returns_when_a_program_listens(host: Host) -> None:
    """TCP over IPv4, TCP over IPv6 only, and UDP are all seen."""
    for protocol, argv in (
        ("tcp", ["python3", "-m", "http.server", "8000", "--bind", "203.0.113.25"]),
        ("tcp", ["python3", "-m", "http.server", "8001", "--bind", "::1"]),
        ("udp", ["python3", "-c", "import socket; s = socket.socket(2, 2); s.bind(('', 8002)); s.recv(1)"]),
    ):
        port = next(int(word[word.index("80") :][:4]) for word in argv if "800" in word)
        assert not host.listens_on(port, protocol=protocol)
        host.popen(argv, stderr=subprocess.DEVNULL)
        host.wait_for_port(port, timeout_s=10, protocol=protocol)


def test_host_wait_for_port_that_nobody_opens_is_an_error_with_port_and_host(host: Host) -> None:
    """The error says which port of which host was waited for."""
    with pytest.raises(LabError, match=r"expected mail to listen on tcp port 9 in 0\.05 s, got nothing"):
        host.wait_for_port(9, timeout_s=0.05)
