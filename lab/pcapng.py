"""The few pcapng blocks that the lab writes and reads: Ethernet, one section, nanoseconds, comments.

    section header | interface description ... | enhanced packet ... | interface statistics ...

scapy could do this, at half a second for its import; the capture process must be there in a tenth of that.
It must never guess: a block of another kind is passed over, a damaged one is a ValueError.
Source: draft-ietf-opsawg-pcapng (block types, options, EPB flags word).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO

_SECTION, _INTERFACE, _STATISTICS, _PACKET = 0x0A0D0D0A, 1, 5, 6
_BYTE_ORDER_MAGIC = 0x1A2B3C4D
_LINKTYPE_ETHERNET = 1
_OPT_END, _OPT_COMMENT, _IF_NAME, _IF_TSRESOL, _SHB_USERAPPL, _EPB_FLAGS = 0, 1, 2, 9, 4, 2
_ISB_IFRECV, _ISB_IFDROP = 4, 5
_NANOSECONDS = 9
_NS_PER_S = 1_000_000_000


class Heading(IntEnum):
    """Which way a packet went through the interface it was captured on; values of the EPB flags word."""

    UNKNOWN = 0
    IN = 1
    OUT = 2


@dataclass(frozen=True, slots=True)
class Record:
    """One captured packet. frame: from the Ethernet header on, maybe cut; length_bytes: of the whole frame."""

    interface: str
    time_ns: int
    frame: bytes
    length_bytes: int
    heading: Heading = Heading.UNKNOWN
    comment: str = ""

    def ip_packet(self) -> bytes | None:
        """The frame from the IPv4 or IPv6 header on; None if it is neither."""
        return self.frame[14:] if self.frame[12:14] in (b"\x08\x00", b"\x86\xdd") else None


class Writer:
    """Writes records of named interfaces to an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._interfaces: dict[str, int] = {}
        body = struct.pack("<IHHq", _BYTE_ORDER_MAGIC, 1, 0, -1) + _option(_SHB_USERAPPL, b"tamperlab")
        self._block(_SECTION, body + _option(_OPT_END, b""))

    def add_interface(self, name: str, *, snap_bytes: int = 0) -> None:
        """Describe an interface; before its first record. snap_bytes: frames are cut there, 0: never."""
        self._interfaces[name] = len(self._interfaces)
        options = _option(_IF_NAME, name.encode()) + _option(_IF_TSRESOL, bytes([_NANOSECONDS]))
        self._block(
            _INTERFACE,
            struct.pack("<HHI", _LINKTYPE_ETHERNET, 0, snap_bytes) + options + _option(_OPT_END, b""),
        )

    def write(self, record: Record) -> None:
        """Append one packet. KeyError: its interface was not described."""
        options = b""
        if record.comment:
            options += _option(_OPT_COMMENT, record.comment.encode())
        if record.heading:
            options += _option(_EPB_FLAGS, struct.pack("<I", record.heading))
        if options:
            options += _option(_OPT_END, b"")
        head = struct.pack(
            "<IIIII",
            self._interfaces[record.interface],
            record.time_ns >> 32,
            record.time_ns & 0xFFFFFFFF,
            len(record.frame),
            record.length_bytes,
        )
        self._block(_PACKET, head + _padded(record.frame) + options)

    def write_statistics(self, interface: str, *, time_ns: int, received: int, dropped: int) -> None:
        """Say at the end how many packets an interface saw and how many of them are missing here."""
        head = struct.pack("<III", self._interfaces[interface], time_ns >> 32, time_ns & 0xFFFFFFFF)
        counts = _option(_ISB_IFRECV, struct.pack("<Q", received)) + _option(
            _ISB_IFDROP, struct.pack("<Q", dropped)
        )
        self._block(_STATISTICS, head + counts + _option(_OPT_END, b""))

    def _block(self, kind: int, body: bytes) -> None:
        size = len(body) + 12
        self._file.write(struct.pack("<II", kind, size) + body + struct.pack("<I", size))


@dataclass(frozen=True, slots=True)
class Statistics:
    """What `Writer.write_statistics` wrote for an interface."""

    time_ns: int
    received: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Capture:
    """A whole file. interfaces: name -> snap length; statistics: by interface name."""

    interfaces: dict[str, int]
    records: list[Record]
    statistics: dict[str, Statistics]


def read(path: Path) -> Capture:
    """Read a file that `Writer` or dumpcap wrote on a little-endian machine.

    ValueError: not such a file, or damaged; the message names it.
    """
    data = path.read_bytes()
    interfaces: list[tuple[str, int, int]] = []  # name, snap length, ticks per second
    capture = Capture({}, [], {})
    try:
        for kind, body in _blocks(data):
            if kind == _INTERFACE:
                linktype, _, snap_bytes = struct.unpack_from("<HHI", body)
                if linktype != _LINKTYPE_ETHERNET:
                    raise ValueError(f"expected Ethernet, got link type {linktype}")
                options = dict(_options(body[8:]))
                resolution = options.get(_IF_TSRESOL, b"\x06")[0]
                ticks = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
                interfaces.append((options.get(_IF_NAME, b"").decode(), snap_bytes, ticks))
                capture.interfaces[interfaces[-1][0]] = snap_bytes
            elif kind == _PACKET:
                capture.records.append(_record(body, interfaces))
            elif kind == _STATISTICS:
                number, high, low = struct.unpack_from("<III", body)
                name, _, ticks = interfaces[number]
                options = dict(_options(body[12:]))
                counts = [
                    int.from_bytes(options.get(code, b""), "little") for code in (_ISB_IFRECV, _ISB_IFDROP)
                ]
                capture.statistics[name] = Statistics((high << 32 | low) * _NS_PER_S // ticks, *counts)
    except (struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"expected a pcapng file, got {str(path)!r}: {error}; capture it again") from error
    return capture


def _record(body: bytes, interfaces: list[tuple[str, int, int]]) -> Record:
    number, high, low, captured, length = struct.unpack_from("<IIIII", body)
    name, _, ticks = interfaces[number]
    options = list(_options(body[20 + (captured + 3) // 4 * 4 :]))
    flags = int.from_bytes(dict(options).get(_EPB_FLAGS, b""), "little") & 3
    return Record(
        interface=name,
        time_ns=(high << 32 | low) * _NS_PER_S // ticks,
        frame=body[20 : 20 + captured],
        length_bytes=length,
        heading=Heading(flags) if flags in (1, 2) else Heading.UNKNOWN,
        comment="\n".join(value.decode() for code, value in options if code == _OPT_COMMENT),
    )


def _blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    if len(data) < 12 or struct.unpack_from("<I4xI", data) != (_SECTION, _BYTE_ORDER_MAGIC):
        raise ValueError("no little-endian section header")
    offset = 0
    while offset < len(data):
        kind, size = struct.unpack_from("<II", data, offset)
        if size < 12 or size % 4 or offset + size > len(data):
            raise ValueError(f"block of {size} bytes at offset {offset}")
        yield kind, data[offset + 8 : offset + size - 4]
        offset += size


def _options(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        code, size = struct.unpack_from("<HH", data, offset)
        if code == _OPT_END:
            return
        yield code, data[offset + 4 : offset + 4 + size]
        offset += 4 + (size + 3) // 4 * 4


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + _padded(value)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
