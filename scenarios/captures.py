"""Capture files read back into packets: pcapng and classic pcap, with their comments.

Only what `middlebox.packet.decode` understands comes back (IP packets); frame numbers count every frame, so they are
the ones Wireshark shows. Counterpart: `lab/capture.py`, which writes the files.

Must never: import scapy (half a second), or raise anything but `CaptureError` for bytes that are no capture.

Sources: draft-ietf-opsawg-pcapng (blocks, options, if_tsresol), draft-ietf-opsawg-pcap, https://www.tcpdump.org/linktypes.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from struct import Struct

from middlebox.packet import PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_TCP, PROTOCOL_UDP, Packet, decode

_SECTION_HEADER, _INTERFACE, _SIMPLE, _ENHANCED = 0x0A0D0D0A, 1, 3, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_OPTION_COMMENT, _OPTION_TSRESOL, _OPTION_TSOFFSET = 1, 9, 14
_PCAP_MAGIC = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1}  # magic -> nanoseconds per unit of the sub-second field

_LINK_NULL, _LINK_ETHERNET, _LINK_RAW, _LINK_SLL, _LINK_IPV4, _LINK_IPV6, _LINK_SLL2 = (
    0,
    1,
    101,
    113,
    228,
    229,
    276,
)
_ETHERTYPES = (0x0800, 0x86DD)
_VLAN_TAGS = (0x8100, 0x88A8)


class CaptureError(Exception):
    """A file that is no capture, or is cut off before its first packet: `path: expected ..., got ...; next step`."""


@dataclass(slots=True)
class Captured:
    """One IP packet of a capture.

    number: frame number as Wireshark counts, from 1; time_ns: wall clock; comments: pcapng packet comments
    """

    number: int
    time_ns: int
    packet: Packet
    comments: tuple[str, ...] = ()


def read_capture(path: Path) -> list[Captured]:
    """All IP packets of a capture file, in file order; a last packet that is cut off is left out.

    CaptureError: the file cannot be read or is neither pcapng nor pcap.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CaptureError(
            f"{path}: expected a capture file, got {error.strerror}; check the path"
        ) from error
    if len(data) >= 12:
        for order in "<>":
            (magic,) = Struct(order + "I").unpack_from(data)
            if magic == _SECTION_HEADER:
                return list(_packets(_pcapng_frames(data)))
            if magic in _PCAP_MAGIC:
                return list(_packets(_pcap_frames(data, order, _PCAP_MAGIC[magic])))
    raise CaptureError(
        f"{path}: expected a pcapng or pcap file, got {data[:4]!r}; convert it with editcap -F pcapng"
    )


Frame = tuple[int, int, bytes, tuple[str, ...]]
"""(link type, time in ns, frame from the link header on, comments)"""


def _packets(frames: Iterable[Frame]) -> Iterator[Captured]:
    for number, (link, time_ns, frame, comments) in enumerate(frames, 1):
        start = _ip_offset(link, frame)
        if start is None:
            continue
        packet = decode(frame[start:])
        if packet is not None:
            yield Captured(number, time_ns, packet, comments)


def _ip_offset(link: int, frame: bytes) -> int | None:
    """Where the IP header starts; None when the frame holds something else."""
    if link == _LINK_ETHERNET:
        at = 12
        while int.from_bytes(frame[at : at + 2], "big") in _VLAN_TAGS:
            at += 4
        return at + 2 if int.from_bytes(frame[at : at + 2], "big") in _ETHERTYPES else None
    if link in (_LINK_RAW, _LINK_IPV4, _LINK_IPV6):
        return 0
    if link == _LINK_NULL:
        return 4
    if link == _LINK_SLL:
        return 16 if int.from_bytes(frame[14:16], "big") in _ETHERTYPES else None
    if link == _LINK_SLL2:
        return 20 if int.from_bytes(frame[0:2], "big") in _ETHERTYPES else None
    return None


def _pcap_frames(data: bytes, order: str, unit_ns: int) -> Iterator[Frame]:
    link = Struct(order + "I").unpack_from(data, 20)[0] & 0xFFFF if len(data) >= 24 else 0
    head = Struct(order + "IIII")
    at = 24
    while at + 16 <= len(data):
        seconds, fraction, size, _ = head.unpack_from(data, at)
        at += 16
        if at + size > len(data):
            return
        yield link, seconds * 1_000_000_000 + fraction * unit_ns, data[at : at + size], ()
        at += size


@dataclass(slots=True)
class _Interface:
    link: int
    units_per_s: int
    offset_s: int


def _pcapng_frames(data: bytes) -> Iterator[Frame]:
    order = "<"
    block_head = Struct("<II")
    enhanced = Struct("<IIIII")
    interfaces: list[_Interface] = []
    at = 0
    while at + 12 <= len(data):
        kind, size = block_head.unpack_from(data, at)
        if kind == _SECTION_HEADER:
            order = "<" if Struct("<I").unpack_from(data, at + 8)[0] == _BYTE_ORDER_MAGIC else ">"
            block_head, enhanced = Struct(order + "II"), Struct(order + "IIIII")
            interfaces = []
            _, size = block_head.unpack_from(data, at)
        end = at + size
        if size < 12 or end > len(data):
            return
        if kind == _INTERFACE:
            interfaces.append(_interface(data, at + 8, end - 4, order))
        elif kind == _ENHANCED and size >= 32:
            which, high, low, captured, _ = enhanced.unpack_from(data, at + 8)
            start = at + 28
            if which >= len(interfaces) or start + captured > end - 4:
                return
            interface = interfaces[which]
            ticks = (high << 32) | low
            time_ns = ticks * 1_000_000_000 // interface.units_per_s + interface.offset_s * 1_000_000_000
            comments: tuple[str, ...] = ()
            options = start + (captured + 3 & ~3)
            if options < end - 4:
                texts = (v for code, v in _options(data, options, end - 4, order) if code == _OPTION_COMMENT)
                comments = tuple(text.decode(errors="replace") for text in texts)
            yield interface.link, time_ns, data[start : start + captured], comments
        elif kind == _SIMPLE and interfaces:
            original = Struct(order + "I").unpack_from(data, at + 8)[0]
            yield interfaces[0].link, 0, data[at + 12 : min(at + 12 + original, end - 4)], ()
        at = end


def _interface(data: bytes, at: int, end: int, order: str) -> _Interface:
    interface = _Interface(Struct(order + "H").unpack_from(data, at)[0], 1_000_000, 0)
    for code, value in _options(data, at + 8, end, order):
        if code == _OPTION_TSRESOL and value:
            interface.units_per_s = 1 << (value[0] & 0x7F) if value[0] & 0x80 else 10 ** value[0]
        elif code == _OPTION_TSOFFSET and len(value) == 8:
            interface.offset_s = Struct(order + "q").unpack(value)[0]
    return interface


def _options(data: bytes, at: int, end: int, order: str) -> Iterator[tuple[int, bytes]]:
    head = Struct(order + "HH")
    while at + 4 <= end:
        code, size = head.unpack_from(data, at)
        if code == 0:
            return
        yield code, data[at + 4 : min(at + 4 + size, end)]
        at += 4 + (size + 3 & ~3)


# --- sameness --------------------------------------------------------------------------------------------------------


def fingerprint(p: Packet) -> bytes:
    """What stays the same of a packet while routers forward it: everything but TTL and the checksum that covers it.

    Two packets with one fingerprint are the same packet seen twice, or a copy that a forger made well.
    """
    data = p.data
    if p.version == 4:
        fixed = data[:8] + data[9:10] + data[12 : p.end]
    else:
        fixed = data[:7] + data[8 : p.end]
    return blake2b(fixed, digest_size=16).digest()


Flow = tuple[int, bytes, int, bytes, int]
"""(protocol, client address, client port, server address, server port)"""


_GRE, _ESP = 47, 50
_BETWEEN_HOSTS = frozenset({PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMP, PROTOCOL_ICMPV6, _GRE, _ESP})


def is_between_hosts(p: Packet) -> bool:
    """Whether a packet is TCP, UDP, ICMP or of a tunnel, from one unicast host to another, no link's own affairs."""
    if p.protocol not in _BETWEEN_HOSTS:
        return False
    return p.dst[0] < 224 if p.version == 4 else p.dst[0] != 0xFF and p.src[:2] != b"\xfe\x80"
