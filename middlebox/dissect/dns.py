"""DNS over UDP and over TCP (RFC 1035 section 4.2) on its ports: queries and responses, each message as a whole.

Over TCP a message may be cut anywhere; its fields come with the segment that completes it, as in Wireshark. Bytes that
cannot be DNS messages refute it, so that TLS or HTTP on port 53 is still found by those who look for that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, DatagramDissector, Dissector, Fields, FieldSpec, add
from middlebox.dissect.dns_message import DNS_FIELDS, HEADER_BYTES, DnsPlan, may_be_message, read_message
from middlebox.dissect.frames import LENGTH_BYTES, FrameBuffer
from middlebox.flow import Direction


class DnsDatagramDissector(DatagramDissector):
    """DNS over UDP. A datagram that is none says nothing about the next: resolvers use a port again for other names."""

    __slots__ = ("_plan",)

    protocol: ClassVar[str] = "dns"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = DNS_FIELDS

    def __init__(self, plan: DnsPlan) -> None:
        self._plan = plan
        self.alive = plan.alive
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if may_be_message(data):
            read_message(data, self._plan, fields)


class DnsStreamDissector(Dissector):
    """DNS over TCP."""

    __slots__ = ("_frames", "_plan")

    protocol: ClassVar[str] = "dns"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = DNS_FIELDS

    def __init__(self, plan: DnsPlan) -> None:
        self._plan = plan
        self._frames = (FrameBuffer(), FrameBuffer())
        self.alive = plan.alive
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not self.alive[direction]:
            return
        frames = self._frames[direction]
        position = 0
        while position < len(data):
            message, position = frames.take(data, position)
            if message is None:
                if not _may_go_on(frames.pending):
                    self.alive = NOTHING_ALIVE
                return
            if not may_be_message(message):
                self.alive = NOTHING_ALIVE
                return
            if "dns.length" in self._plan.fields:
                add(fields, "dns.length", len(message))
            read_message(message, self._plan, fields)

    def restart(self, direction: Direction) -> None:
        self._frames[direction].clear()


def _may_go_on(pending: bytearray) -> bool:
    """Whether an unfinished message, with its length in front, is DNS as far as its header is there."""
    if len(pending) < LENGTH_BYTES:
        return True
    size = pending[0] << 8 | pending[1]
    if size < HEADER_BYTES:
        return False
    header = pending[LENGTH_BYTES : LENGTH_BYTES + HEADER_BYTES]
    return len(header) < HEADER_BYTES or may_be_message(bytes(header), size)
