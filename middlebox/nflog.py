"""EDGE. The kernel's packet log, by which copies come.

The kernel keeps some for one read, so a copy costs little; a packet that is asked about makes it hand over what it has
before (`gate`). What did not fit the socket is counted: the kernel says so once, not how much it was.

Source: linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import ENOBUFS
from typing import Final

from middlebox.copies import LOG, Copies, Copy
from middlebox.kernel import COPIES_AT_ONCE
from middlebox.netlink import ACK, NETFILTER, attribute, error_of, is_answer, message

READ_BYTES: Final = (64 << 10) - 512
"""What the kernel keeps for one read: with what it needs besides, a power of two."""
SOCKET_BYTES: Final = 8 << 20
"""Receive buffer of the socket (chosen); an ordinary user gets less."""
FLUSH_CENTISECONDS: Final = 100
"""After so long the kernel hands over what it has, however little (chosen)."""

_CONFIG: Final = 1
_COMMAND, _MODE, _BUFFER, _TIMEOUT, _THRESHOLD = 1, 2, 3, 4, 5
_BIND: Final = 1
_COPY_PACKET: Final = 2
_WHOLE_PACKET: Final = 0xFFFF
_SO_RCVBUFFORCE = 33


class CopiedPackets:
    """What went on and was copied. `lost`: how often some copies were."""

    def __init__(self, group: int) -> None:
        """OSError: the kernel has no packet log, or another program reads this group."""
        self.lost = 0
        self._copies = Copies()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, NETFILTER)
        try:
            self._ask(group, attribute(_COMMAND, bytes((_BIND,))))
            self._ask(group, attribute(_MODE, struct.pack("!IBx", _WHOLE_PACKET, _COPY_PACKET)))
            for what, number in (
                (_BUFFER, READ_BYTES), (_TIMEOUT, FLUSH_CENTISECONDS), (_THRESHOLD, COPIES_AT_ONCE),
            ):  # fmt: skip
                self._ask(group, attribute(what, struct.pack("!I", number)))
        except OSError:
            self._socket.close()
            raise
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, SOCKET_BYTES)
        except PermissionError:  # root of a user namespace only: the machine's own limit applies
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)

    def fileno(self) -> int:
        return self._socket.fileno()

    def collect(self, now_ns: int) -> None:
        """Take what the kernel has handed over."""
        while True:
            try:
                self._copies.keep(self._socket.recv(READ_BYTES), now_ns)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != ENOBUFS:
                    raise
                self.lost += 1

    def of(self, ends: bytes, now_ns: int) -> Copy | None:
        """The last copy of a connection, as `Copies.of`."""
        self.collect(now_ns)
        return self._copies.of(ends)

    def close(self) -> None:
        self._socket.close()

    def _ask(self, group: int, what: bytes) -> None:
        self._socket.send(message(LOG, _CONFIG, what, flags=ACK, resource=group))
        while not is_answer(answer := self._socket.recv(READ_BYTES)):
            pass  # a copy, by the rules of a box that was killed
        if error := error_of(answer):
            raise OSError(error, os.strerror(error))
