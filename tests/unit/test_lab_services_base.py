"""Readiness and end of services, with processes of the test's own on this machine."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.services.base import OUTPUT, Port, Service, end_process, find_program, listening_ports

LISTENER = """
import signal, socket, sys
kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[sys.argv[1]]
family = {"4": socket.AF_INET, "6": socket.AF_INET6}[sys.argv[2]]
one = socket.socket(family, kind)
one.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
if kind == socket.SOCK_STREAM:
    one.listen()
print(one.getsockname()[1], flush=True)
signal.pause()
"""

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
signal.pause()
"""


def python(program: str, *arguments: str) -> subprocess.Popen[bytes]:
    """A Python program in a session of its own, as a host starts them."""
    argv = [sys.executable, "-I", "-c", program, *arguments]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)


def first_line(process: subprocess.Popen[bytes]) -> str:
    """What the program prints when it has come so far."""
    assert process.stdout
    with process.stdout as stream:
        return stream.readline().decode().strip()


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("family", ["4", "6"])
def test_listening_ports_has_what_a_process_listens_on(transport: str, family: str) -> None:
    """A socket that waits for clients is found, over both transports and IP versions, and only with its own."""
    process = python(LISTENER, transport, family)
    try:
        number = int(first_line(process))
        found = listening_ports(process.pid)
        assert Port(number, transport) in found
    finally:
        end_process(process)
    assert Port(number, transport) not in listening_ports(os.getpid())


def test_listening_ports_leaves_out_connected_sockets() -> None:
    """The client's own end of a connection is no server."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        found = listening_ports(os.getpid())
        assert Port(server.getsockname()[1]) in found
        assert Port(client.getsockname()[1]) not in found


def test_listening_ports_of_a_process_that_is_gone_is_empty() -> None:
    """A server that has died listens on nothing, and asking is no error."""
    process = python("")
    first_line(process)
    process.wait()
    assert listening_ports(process.pid) == set()


def test_service_waits_for_its_port(tmp_path: Path) -> None:
    """`wait_ready` returns once the port is there; `stop` ends the process, and a second one is harmless."""
    process = python(LISTENER, "tcp", "4")
    service = Service("web", tmp_path, [process], (Port(int(first_line(process))),), tmp_path / "log")
    service.wait_ready()
    service.stop()
    service.stop()
    assert process.returncode is not None


def test_service_that_dies_is_reported_with_its_words(tmp_path: Path) -> None:
    """The error names the service, the exit status, what it printed, and where to read on."""
    (tmp_path / OUTPUT).write_text("first\nno such certificate\n")
    process = python("raise SystemExit(7)")
    first_line(process)
    process.wait()
    service = Service("web", tmp_path, [process], (Port(1),), tmp_path / "error.log")
    with pytest.raises(
        LabError, match="expected service web to be ready, got an end with status 7"
    ) as caught:
        service.wait_ready()
    assert "no such certificate" in caught.value.message
    assert str(tmp_path) in caught.value.fix


def test_service_that_never_listens_is_reported_with_its_ports(tmp_path: Path) -> None:
    """After the time limit the error says which ports are missing."""
    process = python(STUBBORN)
    first_line(process)
    try:
        service = Service("web", tmp_path, [process], (Port(1), Port(2, "udp")), tmp_path / "log")
        with pytest.raises(LabError, match=r"nothing listening on tcp/1, udp/2 after 0\.01 s"):
            service.wait_ready(timeout_s=0.01)
    finally:
        end_process(process, timeout_s=0)


def test_end_process_kills_what_ignores_sigterm() -> None:
    """A process that does not listen to SIGTERM is gone all the same."""
    process = python(STUBBORN)
    assert first_line(process) == "deaf"
    end_process(process, timeout_s=0.01)
    assert process.returncode == -9


def test_end_process_ends_the_children_too() -> None:
    """What a server has forked ends with it: the whole session goes."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", "sleep 1000 & echo $!; wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    child = int(first_line(process))
    watched = os.pidfd_open(child)
    end_process(process)
    with os.fdopen(watched) as ended:
        assert select.select([ended], [], [], 10)[0]


def test_missing_program_names_its_package() -> None:
    """The error gives the command that installs what is missing."""
    with pytest.raises(LabError, match="expected the program no-such-server") as caught:
        find_program("no-such-server", package="no-such-package")
    assert caught.value.fix == "apt-get install no-such-package"
