"""EDGE. What the kernel's connection tracking has kept with a connection: asked for one connection at a time.

Source: linux/netfilter/nfnetlink_conntrack.h.
"""

from __future__ import annotations

import os
import socket
import struct
from errno import ENOENT
from typing import Final, NamedTuple

from middlebox.netlink import (
    GENERAL_BYTES,
    NETFILTER,
    attribute,
    attributes,
    error_of,
    message,
    messages,
    nested,
)
from middlebox.packet import PROTOCOL_TCP

_CONNTRACK, _NEW, _GET = 1, 0, 1
_TUPLE_ORIGINAL, _MARK, _LABELS = 1, 8, 22
_TUPLE_IP, _TUPLE_PROTOCOL = 1, 2
_ADDRESSES: Final = {4: (1, 2), 16: (3, 4)}
"""Attributes of source and destination, by the length of an address."""
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_READ_BYTES: Final = 8192


class Entry(NamedTuple):
    """What is kept with a connection. label: empty if there is no room for one."""

    mark: int
    label: bytes


class Conntrack:
    """Connections of this network namespace."""

    def __init__(self) -> None:
        """OSError: the kernel does not tell about them."""
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
        try:
            self.find(bytes(4), bytes(4), 0, 0)
        except OSError:
            self._socket.close()
            raise

    def find(self, src: bytes, dst: bytes, sport: int, dport: int) -> Entry | None:
        """A TCP connection, named by its first packet; None if there is no such."""
        of_source, of_destination = _ADDRESSES[len(src)]
        ends = nested(
            _TUPLE_ORIGINAL,
            nested(_TUPLE_IP, attribute(of_source, src), attribute(of_destination, dst)),
            nested(
                _TUPLE_PROTOCOL,
                attribute(_NUMBER, bytes((PROTOCOL_TCP,))),
                attribute(_SOURCE_PORT, struct.pack("!H", sport)),
                attribute(_DESTINATION_PORT, struct.pack("!H", dport)),
            ),
        )
        family = socket.AF_INET if len(src) == 4 else socket.AF_INET6
        self._socket.send(message(_CONNTRACK, _GET, ends, flags=0, family=family))
        answer = self._socket.recv(_READ_BYTES)
        error = error_of(answer)
        if error not in (0, ENOENT):
            raise OSError(error, os.strerror(error))
        for kind, start, end in messages(answer):
            if kind == _CONNTRACK << 8 | _NEW:
                mark, label = 0, b""
                for what, value, value_end in attributes(answer, start + GENERAL_BYTES, end):
                    if what == _MARK:
                        (mark,) = struct.unpack_from("!I", answer, value)
                    elif what == _LABELS:
                        label = answer[value:value_end]
                return Entry(mark, label)
        return None

    def close(self) -> None:
        self._socket.close()
