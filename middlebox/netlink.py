"""Messages to the kernel's netfilter, byte by byte. Pure: who sends them has the socket.

Sources: linux/netlink.h, linux/netfilter/nfnetlink.h; netlink(7).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

NETFILTER: Final = 12
"""NETLINK_NETFILTER, the protocol of the socket."""
REQUEST, ACK, CREATE, APPEND = 0x1, 0x4, 0x400, 0x800
ERROR: Final = 2
HEAD_BYTES: Final = 16
GENERAL_BYTES: Final = 4
"""struct nfgenmsg, behind the head."""

_NESTED: Final = 0x8000
_KIND: Final = 0x3FFF


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def nested(kind: int, *attributes: bytes) -> bytes:
    return attribute(kind | _NESTED, b"".join(attributes))


def message(
    subsystem: int, kind: int, *attributes: bytes, flags: int, family: int = 0, resource: int = 0
) -> bytes:
    """One message. resource: what the subsystem takes it for, such as the number of a queue."""
    body = struct.pack("!BBH", family, 0, resource) + b"".join(attributes)
    return struct.pack("=IHHII", HEAD_BYTES + len(body), subsystem << 8 | kind, REQUEST | flags, 0, 0) + body


def is_answer(read: bytes) -> bool:
    """Whether this is what the kernel says to a request with ACK."""
    (kind,) = struct.unpack_from("=H", read, 4)
    return bool(kind == ERROR)


def error_of(answer: bytes) -> int:
    """The number (errno) in the kernel's answer to a request, 0 for none."""
    _, kind, _, _, _, error = struct.unpack_from("=IHHIIi", answer)
    return -error if kind == ERROR else 0


def messages(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(kind with its subsystem, offset of the body, end) of each message of a read."""
    at = 0
    while at + HEAD_BYTES <= len(data):
        length, kind = struct.unpack_from("=IH", data, at)
        if length < HEAD_BYTES:
            return
        yield kind, at + HEAD_BYTES, min(at + length, len(data))
        at += length + 3 & ~3


def attributes(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(kind, offset, end) of the value of each attribute between these offsets."""
    while start + 4 <= end:
        length, kind = struct.unpack_from("=HH", data, start)
        if length < 4:
            return
        yield kind & _KIND, start + 4, min(start + length, end)
        start += length + 3 & ~3
