"""PPTP's control connection (RFC 2637 section 2) on any TCP port, by its magic cookie.

The tunnel itself is GRE, see `gre`. Messages are short; never more than one of MAX_MESSAGE_BYTES is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, Dissector, Fields, FieldSpec, FieldType, add
from middlebox.flow import Direction

# RFC 2637: the longest, Incoming-Call-Request, has 220 bytes.
MAX_MESSAGE_BYTES = 220
_MAGIC = b"\x1a\x2b\x3c\x4d"
_HEADER_BYTES = 10  # length, message type, cookie, control message type

_UINT = FieldType.UINT


class PptpDissector(Dissector):
    """PPTP on any port: found by its first eight bytes and refuted by them."""

    __slots__ = ("_found", "_pending", "_wanted")

    protocol: ClassVar[str] = "pptp"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "pptp": FieldSpec(FieldType.BOOL, None, "a PPTP control message is complete"),
        "pptp.length": FieldSpec(_UINT, None, "bytes of the message"),
        "pptp.type": FieldSpec(_UINT, None, "1 control message, 2 management"),
        "pptp.magic_cookie": FieldSpec(_UINT, None, "0x1a2b3c4d"),
        "pptp.control_message_type": FieldSpec(
            _UINT, None, "1 start of the control connection, 7 outgoing call"
        ),
    }

    def __init__(self, fields: frozenset[str] | None) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(self.FIELDS if fields is None else fields)
        self._pending = [b"", b""]
        self._found = False
        both = frozenset({"pptp"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not self.alive[direction]:
            return
        data = self._pending[direction] + data
        self._pending[direction] = b""
        position = 0
        while position < len(data):
            if not _may_start(data, position):
                self._give_up(direction)
                return
            size = data[position] << 8 | data[position + 1] if position + 2 <= len(data) else _HEADER_BYTES
            if position + size > len(data):
                self._pending[direction] = data[position:]
                return
            self._found = True
            self._report(data, position, fields)
            position += size

    def restart(self, direction: Direction) -> None:
        self._pending[direction] = b""

    def _report(self, data: bytes, start: int, fields: Fields) -> None:
        if "pptp" in self._wanted:
            fields["pptp"] = [True]
        for name, offset, size in (
            ("pptp.length", 0, 2), ("pptp.type", 2, 2), ("pptp.magic_cookie", 4, 4),
            ("pptp.control_message_type", 8, 2),
        ):  # fmt: skip
            if name in self._wanted:
                add(fields, name, int.from_bytes(data[start + offset : start + offset + size], "big"))

    def _give_up(self, direction: Direction) -> None:
        """These bytes are no PPTP. Before the first message they refute it; later this direction is lost."""
        if not self._found:
            self.alive = NOTHING_ALIVE
            return
        client, server = self.alive
        self.alive = (client, frozenset()) if direction else (frozenset(), server)


def _may_start(data: bytes, position: int) -> bool:
    """Whether a message can start here, as far as its header is there."""
    start = data[position : position + _HEADER_BYTES]
    if len(start) >= 2 and not _HEADER_BYTES <= (start[0] << 8 | start[1]) <= MAX_MESSAGE_BYTES:
        return False
    kind = start[2:4]
    return (
        start[:1] in (b"", b"\0") and kind in (b"", b"\0", b"\0\1", b"\0\2") and _MAGIC.startswith(start[4:8])
    )
