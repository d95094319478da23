"""IKE (RFC 2408, RFC 7296) on any UDP port, and ESP (RFC 4303) as an IP protocol or in UDP on port 4500 (RFC 3948).

IKE is recognised by its header: an initiator's SPI, version 1 or 2, an exchange type, and a length that is that of the
datagram; the four zero bytes in front of it on port 4500 are skipped. Payloads are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, DatagramDissector, Fields, FieldSpec, FieldType, add
from middlebox.flow import Direction

NAT_PORT = 4500

_HEADER = Struct(">8s8s4BII")
_NON_ESP_MARKER = b"\0\0\0\0"
# IKEv1: RFC 2408 section 3.1, RFC 2409 quick and new group mode. IKEv2: RFC 7296 section 3.1 and its extensions.
_EXCHANGES = {1: frozenset({1, 2, 3, 4, 5, 6, 32, 33}), 2: frozenset(range(34, 45))}

_UINT, _BYTES = FieldType.UINT, FieldType.BYTES


class IkeDissector(DatagramDissector):
    """IKE. On its own ports junk is passed over; on others a first datagram that is none refutes it."""

    __slots__ = ("_found", "_wanted")

    protocol: ClassVar[str] = "isakmp"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "isakmp": FieldSpec(FieldType.BOOL, None, "an IKE message"),
        "isakmp.ispi": FieldSpec(_BYTES, None, "initiator's SPI"),
        "isakmp.rspi": FieldSpec(_BYTES, None, "responder's SPI, zeros in the first message"),
        "isakmp.version": FieldSpec(_UINT, None, "0x10 IKEv1, 0x20 IKEv2"),
        "isakmp.exchangetype": FieldSpec(_UINT, None, "2 main mode, 4 aggressive, 34 IKE_SA_INIT"),
        "isakmp.flags": FieldSpec(_UINT, None, "flags of the header"),
        "isakmp.messageid": FieldSpec(_UINT, None, "message ID"),
        "isakmp.length": FieldSpec(_UINT, None, "bytes of the message"),
    }

    def __init__(self, fields: frozenset[str] | None, *, on_own_port: bool) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(self.FIELDS if fields is None else fields)
        self._found = on_own_port
        both = frozenset({"isakmp"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not self.alive[direction]:
            return
        header = _header(data, 0) or (_header(data, 4) if data.startswith(_NON_ESP_MARKER) else None)
        if header is None:
            if not self._found:
                self.alive = NOTHING_ALIVE
            return
        self._found = True
        ispi, rspi, _, version, exchange, flags, message, length = header
        if "isakmp" in self._wanted:
            fields["isakmp"] = [True]
        for name, value in (
            ("isakmp.ispi", ispi), ("isakmp.rspi", rspi), ("isakmp.version", version),
            ("isakmp.exchangetype", exchange), ("isakmp.flags", flags), ("isakmp.messageid", message),
            ("isakmp.length", length),
        ):  # fmt: skip
            if name in self._wanted:
                add(fields, name, value)


def _header(data: bytes, start: int) -> tuple[bytes, bytes, int, int, int, int, int, int] | None:
    """The header at `start`, if it is one and the message ends with the datagram."""
    if len(data) < start + _HEADER.size:
        return None
    ispi, rspi, payload, version, exchange, flags, message, length = _HEADER.unpack_from(data, start)
    if not any(ispi) or exchange not in _EXCHANGES.get(version >> 4, ()) or length != len(data) - start:
        return None
    return ispi, rspi, payload, version, exchange, flags, message, length


class EspDissector(DatagramDissector):
    """ESP: what stands in the clear."""

    __slots__ = ("_in_udp", "_wanted")

    protocol: ClassVar[str] = "esp"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "esp": FieldSpec(FieldType.BOOL, None, "an ESP packet, alone or in UDP on port 4500"),
        "esp.spi": FieldSpec(_UINT, None, "security parameters index"),
        "esp.sequence": FieldSpec(_UINT, None, "sequence number"),
    }

    def __init__(self, fields: frozenset[str] | None, *, in_udp: bool) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(self.FIELDS if fields is None else fields)
        self._in_udp = in_udp
        both = frozenset({"esp"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if len(data) < 8 or (self._in_udp and data.startswith(_NON_ESP_MARKER)):
            return
        if "esp" in self._wanted:
            fields["esp"] = [True]
        for name, start in (("esp.spi", 0), ("esp.sequence", 4)):
            if name in self._wanted:
                add(fields, name, int.from_bytes(data[start : start + 4], "big"))
