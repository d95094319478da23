"""Copies of packets that went on without being asked about, kept for the moment at which their connection is.

They come as the kernel hands them over, many in one read, and nearly all are thrown away unread: a read is looked
through only when some connection is asked about. Bounded; the oldest go first, as the oldest connections do from a
box's table.

Source: linux/netfilter/nfnetlink_log.h.
"""

from __future__ import annotations

import re
import struct
from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from middlebox.netlink import GENERAL_BYTES, attributes, messages
from middlebox.packet import decode

KEPT_BYTES: Final = 24 << 20
"""Some 120,000 copies of short packets (chosen)."""

LOG: Final = 4
"""NFNL_SUBSYS_ULOG."""
_PACKET: Final = 0
_TIMESTAMP, _PAYLOAD = 3, 9
# The kind of the attribute, and behind it addresses and ports of a packet that has nothing between its two headers.
_ENDS4 = re.compile(re.escape(struct.pack("=H", _PAYLOAD)) + rb"(?=\x45.{11}(.{12}))", re.DOTALL)
_ENDS6 = re.compile(re.escape(struct.pack("=H", _PAYLOAD)) + rb"(?=[\x60-\x6f].{7}(.{36}))", re.DOTALL)


class Copy(NamedTuple):
    """data: from the IP header on. at_ns: when the kernel had it, or when it came here if the kernel does not say."""

    data: bytes
    at_ns: int


class _Read:
    """Some messages of the kernel's log, as they were read. bytes: how many there are."""

    __slots__ = ("_at_ns", "_data", "_ends", "bytes")

    def __init__(self, data: bytes, at_ns: int) -> None:
        self._data = data
        self._at_ns = at_ns
        self._ends: frozenset[bytes] | None = None
        self.bytes = len(data)

    def may_hold(self, ends: bytes) -> bool:
        """Whether a copy is of this connection, or some bytes that a client has said look so."""
        if self._ends is None:
            self._ends = frozenset(_ENDS4.findall(self._data) + _ENDS6.findall(self._data))
        return ends in self._ends

    def copies(self) -> list[Copy]:
        """Newest last."""
        return list(_copies_in(self._data, self._at_ns))


class Copies:
    """What was copied, newest last."""

    __slots__ = ("_bytes", "_limit", "_reads")

    def __init__(self, limit_bytes: int = KEPT_BYTES) -> None:
        self._reads: deque[_Read] = deque()
        self._bytes = 0
        self._limit = limit_bytes

    def keep(self, read: bytes, now_ns: int) -> None:
        """Some messages of the kernel's log, as they were read."""
        self._reads.append(_Read(read, now_ns))
        self._bytes += len(read)
        while self._bytes > self._limit:
            self._bytes -= self._reads.popleft().bytes

    def of(self, ends: bytes) -> Copy | None:
        """The last one of a connection; None if it is gone. ends: as they stand in its packet (`ends_as_sent`)."""
        for read in reversed(self._reads):
            if not read.may_hold(ends):
                continue
            for copy in reversed(read.copies()):
                p = decode(copy.data)
                if p is not None and ends_as_sent(p.src, p.dst, p.sport, p.dport) == ends:
                    return copy
        return None


def ends_as_sent(src: bytes, dst: bytes, sport: int, dport: int) -> bytes:
    return src + dst + sport.to_bytes(2) + dport.to_bytes(2)


def _copies_in(read: bytes, now_ns: int) -> Iterator[Copy]:
    for kind, start, end in messages(read):
        if kind != LOG << 8 | _PACKET:
            continue
        at_ns, data = now_ns, b""
        for what, value, value_end in attributes(read, start + GENERAL_BYTES, end):
            if what == _TIMESTAMP:
                seconds, microseconds = struct.unpack_from("!QQ", read, value)
                at_ns = seconds * 1_000_000_000 + microseconds * 1_000
            elif what == _PAYLOAD:
                data = read[value:value_end]
        if len(data) > 1:  # of others only the fact that they were asked about was said
            yield Copy(data, at_ns)
