"""L2TP (RFC 2661) on any UDP port: header and type of the control message.

It is recognised by the first message of a tunnel, a Start-Control-Connection-Request to tunnel 0, or by its port, 1701.
What the tunnel carries is not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, DatagramDissector, Fields, FieldSpec, FieldType, add
from middlebox.flow import Direction

_CONTROL, _HAS_LENGTH, _HAS_SEQUENCE, _VERSION = 0x8000, 0x4000, 0x0800, 0x000F
_MESSAGE_TYPE_BYTES = 8  # an AVP: flags and length, vendor 0, attribute 0, value
_START_REQUEST = 1

_UINT = FieldType.UINT


class L2tpDissector(DatagramDissector):
    """L2TP version 2. On other ports than its own a first datagram that opens no tunnel refutes it."""

    __slots__ = ("_found", "_wanted")

    protocol: ClassVar[str] = "l2tp"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "l2tp": FieldSpec(FieldType.BOOL, None, "an L2TP message"),
        "l2tp.type": FieldSpec(_UINT, None, "1 control, 0 data"),
        "l2tp.version": FieldSpec(_UINT, None, "2"),
        "l2tp.length": FieldSpec(_UINT, None, "bytes of the message, if it says so"),
        "l2tp.tunnel": FieldSpec(_UINT, None, "tunnel ID, 0 before there is one"),
        "l2tp.session": FieldSpec(_UINT, None, "session ID"),
        "l2tp.Ns": FieldSpec(_UINT, None, "number of this message, if it has one"),
        "l2tp.Nr": FieldSpec(_UINT, None, "number of the message expected next, if it has one"),
        "l2tp.avp.message_type": FieldSpec(_UINT, None, "1 SCCRQ, 2 SCCRP, 3 SCCCN, 10 ICRQ, ..."),
    }

    def __init__(self, fields: frozenset[str] | None, *, on_own_port: bool) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(self.FIELDS if fields is None else fields)
        self._found = on_own_port
        both = frozenset({"l2tp"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not self.alive[direction]:
            return
        found = _read(data)
        if not self._found:
            if found is None or found.get("l2tp.avp.message_type") != _START_REQUEST or found["l2tp.tunnel"]:
                self.alive = NOTHING_ALIVE
                return
            self._found = True
        if found is None:
            return
        if "l2tp" in self._wanted:
            fields["l2tp"] = [True]
        for name, value in found.items():
            if name in self._wanted:
                add(fields, name, value)


def _read(data: bytes) -> dict[str, int] | None:
    """The header of a message of version 2; None if it is none, or cut off."""
    if len(data) < 6:
        return None
    flags = data[0] << 8 | data[1]
    if flags & _VERSION != 2:
        return None
    found = {"l2tp.type": flags >> 15, "l2tp.version": 2}
    names = ["l2tp.tunnel", "l2tp.session"]
    if flags & _HAS_LENGTH:
        names.insert(0, "l2tp.length")
    if flags & _HAS_SEQUENCE:
        names += ["l2tp.Ns", "l2tp.Nr"]
    position = 2
    for name in names:
        if position + 2 > len(data):
            return None
        found[name] = data[position] << 8 | data[position + 1]
        position += 2
    if flags & _CONTROL:
        # RFC 2661 section 3.1: control messages have both.
        if not flags & _HAS_LENGTH or not flags & _HAS_SEQUENCE or found["l2tp.length"] != len(data):
            return None
        avp = data[position : position + _MESSAGE_TYPE_BYTES]
        if len(avp) == _MESSAGE_TYPE_BYTES and avp[2:6] == bytes(4):
            found["l2tp.avp.message_type"] = avp[6] << 8 | avp[7]
    return found
