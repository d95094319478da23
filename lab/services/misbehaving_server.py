"""The process of the misbehaving server; started by misbehaving.py, where the behaviours are described.

Usage: misbehaving_server.py BEHAVIOUR NAME PORT...

Standard library only. It must never outlive its parent's group, and a child never returns to the accepting loop.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Callable, Mapping

MAIL_PORTS = (25, 587)
READ_BYTES = 65_536

IDLE_S, SLOW_S, TARPIT_S = 0.4, 1.2, 0.2
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 1, 1, 1
"""Chosen: short, so that a scenario is."""
OFFER = "250-{name}\r\n250-8BITMIME\r\n250-SIZE 14680064\r\n250 STARTTLS\r\n"
"""STARTTLS last, as in the list of Cisco's document 118550. The greeting has a version, as those of many servers."""


def await_moment(connection: socket.socket, port: int, name: str) -> bool:
    """Return when the moment has come, its bytes still unread; False: the client left before."""
    if port not in MAIL_PORTS:
        return bool(connection.recv(READ_BYTES, socket.MSG_PEEK))
    connection.sendall(f"220 {name} ESMTP 3.20\r\n".encode())
    while True:
        line, end, _ = connection.recv(READ_BYTES, socket.MSG_PEEK).partition(b"\n")
        if not end:
            return False  # clients of the lab send whole lines; half a one is a client that left
        if line.upper().startswith(b"STARTTLS"):
            return True
        connection.recv(len(line) + len(end))
        answer = OFFER.format(name=name) if line.upper().startswith(b"EHLO") else "250 ok\r\n"
        connection.sendall(answer.encode())


def reset(connection: socket.socket) -> None:
    """End a connection by RST: SO_LINGER with a time of 0, socket(7)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def answer_once(connection: socket.socket) -> bool:
    """Send back what came; False at the client's end."""
    data = connection.recv(READ_BYTES)
    connection.sendall(data)
    return bool(data)


def do_answer(connection: socket.socket) -> None:
    while answer_once(connection):
        pass


def do_crash(connection: socket.socket) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def do_reset(connection: socket.socket) -> None:
    connection.recv(READ_BYTES)
    reset(connection)


def do_reset_when_idle(connection: socket.socket) -> None:
    while answer_once(connection):
        if not select.select([connection], [], [], IDLE_S)[0]:
            reset(connection)
            return


def do_slow(connection: socket.socket) -> None:
    while connection.recv(READ_BYTES, socket.MSG_PEEK):
        time.sleep(SLOW_S)
        answer_once(connection)


def do_tarpit(connection: socket.socket) -> None:
    while True:
        for byte in b"220-please wait\r\n":
            connection.sendall(bytes([byte]))
            time.sleep(TARPIT_S)


def do_keepalive(connection: socket.socket) -> None:
    for option, value in (
        (socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S),
        (socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S),
        (socket.TCP_KEEPCNT, KEEPALIVE_PROBES),
    ):
        connection.setsockopt(socket.IPPROTO_TCP, option, value)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    do_answer(connection)


BEHAVIOURS: Mapping[str, Callable[[socket.socket], None]] = {
    "answer": do_answer,
    "crash": do_crash,
    "keepalive": do_keepalive,
    "reset": do_reset,
    "reset-when-idle": do_reset_when_idle,
    "slow": do_slow,
    "tarpit": do_tarpit,
}
AT_ONCE = frozenset({"tarpit"})
"""These do not wait for the moment."""


def serve_one(connection: socket.socket, port: int, behaviour: str, name: str) -> None:
    """One connection, in a process of its own, to its end."""
    try:
        if behaviour in AT_ONCE or await_moment(connection, port, name):
            BEHAVIOURS[behaviour](connection)
    except OSError as error:
        print(f"{behaviour} on {port}: {error}", flush=True)  # the client left first, which is its right
    os._exit(0)


def main() -> None:
    """Accept connections until killed."""
    behaviour, name, *ports = sys.argv[1:]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listeners = {
        socket.create_server(("::", int(port)), family=socket.AF_INET6, dualstack_ipv6=True): int(port)
        for port in ports
    }
    while True:
        for listener in select.select(list(listeners), [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                serve_one(connection, listeners[listener], behaviour, name)
            connection.close()


if __name__ == "__main__":
    main()
