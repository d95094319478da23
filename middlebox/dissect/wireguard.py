"""WireGuard on any UDP port: message type, indices and counter (the WireGuard whitepaper, section 5.4).

It is recognised by the initiation or the response of a handshake: type, three zero bytes, and exactly 148 or 92 bytes.
Transport messages are reported behind one of those only, because type 4 and a length above 31 alone are little. Nothing
is ever decrypted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, DatagramDissector, Fields, FieldSpec, FieldType, add
from middlebox.flow import Direction

_INITIATION, _RESPONSE, _COOKIE, _TRANSPORT = 1, 2, 3, 4
_SIZES = {_INITIATION: 148, _RESPONSE: 92, _COOKIE: 64}
_SMALLEST_TRANSPORT = 32  # a keepalive


class WireguardDissector(DatagramDissector):
    """WireGuard on any port. A first datagram that cannot be one refutes it."""

    __slots__ = ("_found", "_wanted")

    protocol: ClassVar[str] = "wg"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "wg": FieldSpec(FieldType.BOOL, None, "a WireGuard message"),
        "wg.type": FieldSpec(
            FieldType.UINT, None, "1 initiation, 2 response, 3 cookie reply, 4 transport data"
        ),
        "wg.sender": FieldSpec(FieldType.UINT, None, "index that the sender chose; initiation and response"),
        "wg.receiver": FieldSpec(
            FieldType.UINT, None, "index that the receiver chose; all but the initiation"
        ),
        "wg.counter": FieldSpec(FieldType.UINT, None, "counter of a transport message"),
    }

    def __init__(self, fields: frozenset[str] | None) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(self.FIELDS if fields is None else fields)
        self._found = False
        both = frozenset({"wg"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not self.alive[direction]:
            return
        kind = _kind(data)
        if not self._found:
            if not kind:
                self.alive = NOTHING_ALIVE
                return
            self._found = kind in (_INITIATION, _RESPONSE)
        if kind and self._found:
            self._report(kind, data, fields)

    def _report(self, kind: int, data: bytes, fields: Fields) -> None:
        if "wg" in self._wanted:
            fields["wg"] = [True]
        found = [("wg.type", kind)]
        position = 4
        if kind in (_INITIATION, _RESPONSE):
            found.append(("wg.sender", int.from_bytes(data[4:8], "little")))
            position = 8
        if kind != _INITIATION:
            found.append(("wg.receiver", int.from_bytes(data[position : position + 4], "little")))
        if kind == _TRANSPORT:
            found.append(("wg.counter", int.from_bytes(data[8:16], "little")))
        for name, value in found:
            if name in self._wanted:
                add(fields, name, value)


def _kind(data: bytes) -> int:
    """The type of a message whose length fits to it, 0 for anything else."""
    if len(data) < _SMALLEST_TRANSPORT or data[1:4] != b"\0\0\0":
        return 0
    kind = data[0]
    if kind == _TRANSPORT:
        return kind
    return kind if _SIZES.get(kind) == len(data) else 0
