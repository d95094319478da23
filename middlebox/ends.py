"""The ends of a connection as bytes, read off its packets without decoding them: quick, and only where it is simple."""

from __future__ import annotations

from middlebox.packet import PROTOCOL_TCP, PROTOCOL_UDP


def ends_of(data: bytes) -> bytes:
    """Protocol, addresses and ports of a packet without IP options and extension headers; else nothing."""
    first, size = data[0], len(data)
    if first == 0x45 and size >= 24:
        has_ports = data[9] in (PROTOCOL_TCP, PROTOCOL_UDP) and not (data[6] & 0x3F or data[7])
        return data[9:10] + data[12:24] if has_ports else b""
    has_ports = first >> 4 == 6 and size >= 44 and data[6] in (PROTOCOL_TCP, PROTOCOL_UDP)
    return data[6:7] + data[8:44] if has_ports else b""


def turned(name: bytes) -> bytes:
    """The name of the packets that go the other way."""
    size = (len(name) - 5) // 2
    return name[:1] + name[1 + size : 1 + 2 * size] + name[1 : 1 + size] + name[-2:] + name[-4:-2]
