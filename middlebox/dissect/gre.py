"""GRE (RFC 2784, RFC 2890) and the enhanced GRE of PPTP (RFC 2637 section 4.1): what stands in the header.

IP protocol 47, no ports. What is inside is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import DatagramDissector, Fields, FieldSpec, FieldType, add
from middlebox.flow import Direction

_CHECKSUM, _ROUTING, _KEY = 0x8000, 0x4000, 0x2000
_VERSION = 7
_ENHANCED = 1

_UINT = FieldType.UINT


class GreDissector(DatagramDissector):
    """GRE: each packet for itself."""

    __slots__ = ("_wanted",)

    protocol: ClassVar[str] = "gre"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "gre": FieldSpec(FieldType.BOOL, None, "a GRE packet"),
        "gre.flags_and_version": FieldSpec(_UINT, None, "first 16 bits; version 1 is that of PPTP"),
        "gre.proto": FieldSpec(_UINT, None, "what is inside: 0x880b PPP (PPTP), 0x0800 IPv4"),
        "gre.key": FieldSpec(_UINT, None, "key, in version 0 if there is one"),
        "gre.key.payload_length": FieldSpec(_UINT, None, "bytes of payload, in version 1"),
        "gre.key.call_id": FieldSpec(_UINT, None, "PPTP call ID of the receiver, in version 1"),
    }

    def __init__(self, fields: frozenset[str] | None) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(self.FIELDS if fields is None else fields)
        both = frozenset({"gre"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if len(data) < 4:
            return
        flags = data[0] << 8 | data[1]
        found = [("gre.flags_and_version", flags), ("gre.proto", data[2] << 8 | data[3])]
        key = 8 if flags & (_CHECKSUM | _ROUTING) else 4
        if flags & _KEY and key + 4 <= len(data):
            if flags & _VERSION == _ENHANCED:
                found.append(("gre.key.payload_length", data[key] << 8 | data[key + 1]))
                found.append(("gre.key.call_id", data[key + 2] << 8 | data[key + 3]))
            else:
                found.append(("gre.key", int.from_bytes(data[key : key + 4], "big")))
        if "gre" in self._wanted:
            fields["gre"] = [True]
        for name, value in found:
            if name in self._wanted:
                add(fields, name, value)
