"""PPTP as a client: pptp-linux makes a call and sends one PPP frame through it, which the lab's server returns.

`connected`: it came back, so the control connection and GRE both work. It takes pptp-linux a second, which it waits
before it makes a call. IPv4 only, like the program. No pppd is started, so it needs no root and no kernel that has PPP.

Sources: pptp(8); RFC 2637, RFC 1661 (LCP).
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import time
from typing import IO

from lab.clients.base import (
    Client,
    ClientResult,
    Finished,
    Outcome,
    Target,
    Workplace,
    outcome_of_text,
    program_version,
    received_resets,
)
from lab.host import Host
from lab.services.base import end_process, find_program, with_own_run
from lab.services.pptp import PORT, frame_of

_READ_BYTES = 65_536
MAGIC = b"tamp"
QUESTION = bytes.fromhex("ff03 c021 0101 000a 0506") + MAGIC
"""LCP's Configure-Request with a magic number, behind address and control."""
_CAME_BACK = "frame came back: "


def classify(done: Finished) -> Outcome:
    """The outcome from what came back, and from what the program complained of."""
    if done.stdout.startswith(_CAME_BACK):
        return Outcome.CONNECTED
    if done.resets:  # which the program keeps to itself
        return Outcome.CONNECTION_RESET
    if done.exit_status is None:
        return Outcome.TIMEOUT
    return outcome_of_text(done.output) or Outcome.FAILED


def run(host: Host, target: Target) -> ClientResult:
    """Call the target. It has one port, and cannot be told another."""
    program = find_program("pptp", package="pptp-linux")
    workplace = Workplace.make(target, "pptp")
    argv = [program, target.server_name, "--nolaunchpppd", "--nohostroute", "--nobuffer"]
    resets = received_resets(host)
    begin = time.monotonic()
    # It reads from and writes to its standard input, as if that were pppd's terminal.
    line, its_end = socket.socketpair()
    with line, its_end:
        line.sendall(frame_of(QUESTION))  # waits there until the call is up, or the program has ended
        # By its socket in /run a pptp would be taken over by that of another host.
        process = host.popen(
            with_own_run(argv), cwd=workplace.directory, env=workplace.environment, stdin=its_end.fileno(),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        its_end.close()
        assert process.stderr is not None
        with process.stderr:
            answer, complaints, in_time = _wait(line, process.stderr, begin + target.time_limit_s)
            end_process(process)
    status = process.returncode if in_time else None
    said = f"{_CAME_BACK}{answer.hex()}\n" if answer else ""
    seconds = time.monotonic() - begin
    done = Finished(tuple(argv), status, seconds, said, complaints, received_resets(host) - resets)
    return done.result(classify(done), program_version(program))


def _wait(line: socket.socket, stderr: IO[bytes], deadline: float) -> tuple[bytes, str, bool]:
    """(what came back, what the program complained of, whether anything was decided in time)."""
    complaints = came = b""
    with selectors.DefaultSelector() as selector:
        selector.register(line, selectors.EVENT_READ)
        selector.register(stderr, selectors.EVENT_READ)
        while ready := selector.select(max(deadline - time.monotonic(), 0)):
            for key, _ in ready:
                piece = _read(key.fd)
                if not piece:
                    selector.unregister(key.fd)
                elif key.fd == line.fileno():
                    came += piece
                else:
                    complaints += piece
            if MAGIC in came:
                return came, complaints.decode(errors="replace"), True
            if not selector.get_map():
                return b"", complaints.decode(errors="replace"), True
    return b"", complaints.decode(errors="replace"), False


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, _READ_BYTES)
    except ConnectionResetError:  # a program that ended without having read its line
        return b""


CLIENTS = (Client("pptp", PORT, run, families=(4,)),)
