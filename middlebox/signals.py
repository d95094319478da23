"""EDGE. Signals: what they ask a box for, and the socket by which they wake it."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Sequence
from typing import Protocol

from middlebox.profile import Deployment

Load = Callable[[], Sequence[Deployment]]


class Signalled(Protocol):
    """What a box can be asked for at any moment."""

    def stop(self) -> None: ...
    def reload(self, load: Load) -> None: ...


def drain(wakeup: socket.socket) -> None:
    """Read off the signal numbers that made the socket readable; the handlers have run by now."""
    try:
        wakeup.recv(4096)
    except BlockingIOError:
        pass


def on_signals(box: Signalled, load: Load) -> socket.socket:
    """SIGTERM and SIGINT stop the box, SIGHUP reloads; returns the socket for `Box.run`."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    signal.set_wakeup_fd(writing.detach())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: box.stop())
    signal.signal(signal.SIGHUP, lambda *_: box.reload(load))
    return reading
