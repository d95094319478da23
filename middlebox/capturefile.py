"""EDGE. Capture files for `replay`: pcap and pcapng in, pcapng out, frame by frame.

It knows files and link layers and nothing of rules. A file of any size is read a piece at a time. It must never raise
anything but CaptureError for what a file holds; a last frame that is cut off is left out, as every reader does.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng, https://www.tcpdump.org/linktypes.html
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import Struct, error as struct_error
from types import TracebackType
from typing import BinaryIO, Final, Self

ETHERNET: Final = 1
RAW: Final = 101
LINUX_SLL: Final = 113
IPV4: Final = 228
IPV6: Final = 229
LINUX_SLL2: Final = 276
LINK_TYPES: Final = {
    ETHERNET: "Ethernet", RAW: "raw IP", LINUX_SLL: "Linux cooked", IPV4: "raw IPv4", IPV6: "raw IPv6",
    LINUX_SLL2: "Linux cooked v2",
}  # fmt: skip

_PIECE_BYTES: Final = 1 << 20
_LONGEST_BLOCK: Final = 1 << 24
"""A frame or block above this is no capture but noise (chosen: far above any snap length in use)."""

_PCAP_MAGICS: Final = {  # first four bytes: (byte order, nanoseconds per unit of the sub-second field)
    b"\xd4\xc3\xb2\xa1": ("<", 1000), b"\xa1\xb2\xc3\xd4": (">", 1000),
    b"\x4d\x3c\xb2\xa1": ("<", 1), b"\xa1\xb2\x3c\x4d": (">", 1),
}  # fmt: skip
_SECTION: Final = b"\x0a\x0d\x0d\x0a"
_INTERFACE, _OLD_PACKET, _SIMPLE, _ENHANCED = 1, 2, 3, 6
_OPTION_COMMENT, _OPTION_TSRESOL, _OPTION_TSOFFSET = 1, 9, 14
_ETHERTYPES: Final = (b"\x08\x00", b"\x86\xdd")
_VLAN_TAGS: Final = (b"\x81\x00", b"\x88\xa8")


class CaptureError(Exception):
    """The file is no capture that can be replayed."""


@dataclass(eq=False, slots=True)
class Interface:
    """Where frames were captured. ticks_per_s, offset_s: of its time stamps."""

    link_type: int
    ticks_per_s: int = 1_000_000
    offset_s: int = 0


Frame = tuple[int, Interface, bytes]
"""(nanoseconds since 1970, interface, bytes from the link layer on)"""


def read_frames(path: Path) -> Iterator[Frame]:
    """Every frame of a capture in the file's order. OSError, or CaptureError before the first frame or at a bad one."""
    with path.open("rb", buffering=0) as file:
        magic = file.read(4)
        try:
            if magic in _PCAP_MAGICS:
                yield from _read_pcap(file, *_PCAP_MAGICS[magic])
            elif magic == _SECTION:
                file.seek(0)
                yield from _read_pcapng(file)
            else:
                raise CaptureError(
                    f"expected a capture, pcap or pcapng, got a file that begins with {magic!r}"
                )
        except (CaptureError, struct_error) as error:
            raise CaptureError(f"{path}: {error}") from error


def ip_offset(link_type: int, frame: bytes) -> int:
    """Where the IP header begins, -1 if the frame carries none."""
    if link_type in (RAW, IPV4, IPV6):
        return 0
    if link_type == ETHERNET:
        at = 12
        while frame[at : at + 2] in _VLAN_TAGS:
            at += 4
    elif link_type == LINUX_SLL:
        at = 14
    else:
        return 20 if frame[0:2] in _ETHERTYPES else -1
    return at + 2 if frame[at : at + 2] in _ETHERTYPES else -1


def frame_like(frame: bytes, offset: int, link_type: int, data: bytes, *, turned: bool) -> bytes:
    """`data` behind a link layer header like that of `frame`. turned: it goes the other way."""
    head = frame[:offset]
    if link_type == ETHERNET and turned:
        head = head[6:12] + head[0:6] + head[12:]
    return head + data


def _read_pcap(file: BinaryIO, order: str, unit_ns: int) -> Iterator[Frame]:
    header = file.read(20)
    interface = Interface(Struct(order + "I").unpack_from(header, 16)[0] & 0xFFFF)
    _check_link_type(interface)
    unpack = Struct(order + "IIII").unpack_from
    buffer, at = b"", 0
    while piece := file.read(_PIECE_BYTES):
        buffer = buffer[at:] + piece
        at, size = 0, len(buffer)
        while at + 16 <= size:
            seconds, fraction, captured, _ = unpack(buffer, at)
            if captured > _LONGEST_BLOCK:
                raise CaptureError(f"expected a frame, got one of {captured} bytes; is the file damaged?")
            end = at + 16 + captured
            if end > size:
                break
            yield seconds * 1_000_000_000 + fraction * unit_ns, interface, buffer[at + 16 : end]
            at = end


def _read_pcapng(file: BinaryIO) -> Iterator[Frame]:
    order = "<"
    interfaces: list[Interface] = []
    enhanced = Struct("<IIIII").unpack_from
    for kind, body in _blocks(file):
        if kind == _ENHANCED:
            number, high, low, captured, _ = enhanced(body)
            interface = _interface(interfaces, number)
            yield _time_ns(interface, high << 32 | low), interface, body[20 : 20 + captured]
        elif kind == _SIMPLE:
            interface = _interface(interfaces, 0)
            (length,) = Struct(order + "I").unpack_from(body)
            yield 0, interface, body[4 : 4 + length]
        elif kind == _OLD_PACKET:
            number, _, high, low, captured, _ = Struct(order + "HHIIII").unpack_from(body)
            interface = _interface(interfaces, number)
            yield _time_ns(interface, high << 32 | low), interface, body[20 : 20 + captured]
        elif kind == _INTERFACE:
            interfaces.append(_read_interface(body, order))
        elif kind == -1:
            order = "<" if body[:4] == b"\x4d\x3c\x2b\x1a" else ">"
            enhanced = Struct(order + "IIIII").unpack_from
            interfaces = []


def _blocks(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each block; -1 for a section header, from which on the byte order may be another."""
    head = Struct("<II").unpack_from
    buffer, at = b"", 0
    while piece := file.read(_PIECE_BYTES):
        buffer = buffer[at:] + piece
        at, size = 0, len(buffer)
        while at + 12 <= size:
            kind, length = head(buffer, at)
            if buffer[at : at + 4] == _SECTION:
                head = Struct("<II" if buffer[at + 8 : at + 12] == b"\x4d\x3c\x2b\x1a" else ">II").unpack_from
                kind, length = -1, head(buffer, at)[1]
            if not 12 <= length <= _LONGEST_BLOCK or length % 4:
                raise CaptureError(f"expected a block, got one of {length} bytes; is the file damaged?")
            if at + length > size:
                break
            yield kind, buffer[at + 8 : at + length - 4]
            at += length


def _read_interface(body: bytes, order: str) -> Interface:
    interface = Interface(Struct(order + "H").unpack_from(body)[0])
    _check_link_type(interface)
    at = 8
    option = Struct(order + "HH").unpack_from
    while at + 4 <= len(body):
        kind, length = option(body, at)
        value = body[at + 4 : at + 4 + length]
        if kind == _OPTION_TSRESOL and length == 1:
            exponent = value[0] & 0x7F
            interface.ticks_per_s = 2**exponent if value[0] & 0x80 else 10**exponent
        elif kind == _OPTION_TSOFFSET and length == 8:
            (interface.offset_s,) = Struct(order + "q").unpack(value)
        at += 4 + (length + 3 & ~3)
    return interface


def _check_link_type(interface: Interface) -> None:
    if interface.link_type not in LINK_TYPES:
        known = ", ".join(f"{name} ({number})" for number, name in LINK_TYPES.items())
        raise CaptureError(f"expected a link type out of {known}, got {interface.link_type}")


def _interface(interfaces: list[Interface], number: int) -> Interface:
    if number >= len(interfaces):
        raise CaptureError(
            f"expected one of {len(interfaces)} interfaces, got number {number}; is the file damaged?"
        )
    return interfaces[number]


def _time_ns(interface: Interface, ticks: int) -> int:
    return interface.offset_s * 1_000_000_000 + ticks * 1_000_000_000 // interface.ticks_per_s


class CaptureWriter:
    """A pcapng file, as a context manager: time stamps in nanoseconds, comments on single frames."""

    def __init__(self, path: Path) -> None:
        """OSError: the file cannot be made."""
        self._file = path.open("wb")
        self._numbers: dict[int, int] = {}  # link type -> interface
        self._block(0x0A0D0D0A, Struct("<IHHq").pack(0x1A2B3C4D, 1, 0, -1))

    def write(self, time_ns: int, interface: Interface, frame: bytes, *, comment: str = "") -> None:
        number = self._numbers.get(interface.link_type)
        if number is None:
            number = self._numbers[interface.link_type] = len(self._numbers)
            resolution = Struct("<HHB3xI").pack(_OPTION_TSRESOL, 1, 9, 0)
            self._block(_INTERFACE, Struct("<HHI").pack(interface.link_type, 0, 0) + resolution)
        head = Struct("<IIIII").pack(number, time_ns >> 32, time_ns & 0xFFFFFFFF, len(frame), len(frame))
        self._block(_ENHANCED, head + _padded(frame) + (_comment(comment) if comment else b""))

    def _block(self, kind: int, body: bytes) -> None:
        length = len(body) + 12
        self._file.write(Struct("<II").pack(kind, length) + body + Struct("<I").pack(length))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _comment(text: str) -> bytes:
    encoded = text.encode()
    return Struct("<HH").pack(_OPTION_COMMENT, len(encoded)) + _padded(encoded) + bytes(4)
