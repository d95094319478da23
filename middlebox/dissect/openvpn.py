"""OpenVPN over UDP and over TCP, on any port: opcode, key and session of each packet.

It is recognised by the client's hard reset, the first packet of all: opcode, key 0, and a length and packet ID such as
OpenVPN 2.x writes them, plain, with tls-auth, tls-crypt or tls-crypt-v2. Whoever wants to be surer waits for the
server's answer, opcode 8. tshark looks at port 1194 only. What is inside is never read, not even TLS in the clear.

Sources: OpenVPN's ssl_pkt.h and tls_crypt.h for the layouts; field names as in Wireshark.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import (
    NOTHING_ALIVE,
    DatagramDissector,
    Dissector,
    Fields,
    FieldSpec,
    FieldType,
    add,
)
from middlebox.dissect.frames import LENGTH_BYTES, FrameBuffer
from middlebox.flow import Direction

_UINT = FieldType.UINT
OPENVPN_FIELDS: Mapping[str, FieldSpec] = {
    "openvpn": FieldSpec(FieldType.BOOL, None, "an OpenVPN packet"),
    "openvpn.plen": FieldSpec(
        _UINT, None, "bytes of the packet as the two bytes before it say; over TCP only"
    ),
    "openvpn.type": FieldSpec(_UINT, None, "first byte: opcode and key ID together"),
    "openvpn.opcode": FieldSpec(
        _UINT, None, "7 and 10 client's hard reset, 8 server's, 4 control, 5 ack, 6 and 9 data"
    ),
    "openvpn.keyid": FieldSpec(_UINT, None, "key ID, 0 to 7"),
    "openvpn.peerid": FieldSpec(_UINT, None, "peer ID of a data packet with opcode 9"),
    "openvpn.sessionid": FieldSpec(_UINT, None, "session ID of the sender; not in data packets"),
}

_RESET_CLIENT_V1, _RESET_CLIENT_V2, _RESET_CLIENT_V3 = 1, 7, 10
_DATA_V1, _DATA_V2, _LAST_OPCODE = 6, 9, 11
_RESETS = frozenset(opcode << 3 for opcode in (_RESET_CLIENT_V1, _RESET_CLIENT_V2, _RESET_CLIENT_V3))

_SESSION_END = 9  # opcode byte and session ID
_PLAIN_RESET_BYTES = 14  # and an empty list of acknowledgments, and message packet ID 0
_REPLAY_BYTES = 8  # packet ID and time
_HMAC_SIZES = (16, 20, 28, 32, 48, 64)  # of --auth MD5 to SHA512
_TLS_CRYPT_BYTES = _PLAIN_RESET_BYTES + _REPLAY_BYTES + 32
_NO_ACKS = bytes(5)
# Packet IDs of a first packet: 1, and 0x0f000001 where 2.6 negotiates early; a few more for retransmissions (chosen).
_EARLY_NEGOTIATION = 0x0F000000
_MAX_RETRANSMISSIONS = 100
# A reset with a wrapped client key is the longest: 1,024 bytes of key and metadata (--tls-crypt-v2), chosen roomily.
_MAX_RESET_BYTES = 2048


def may_be_reset(data: bytes) -> bool:
    """Whether a whole packet is a client's hard reset, as far as that can be told without its keys."""
    size = len(data)
    if size < _PLAIN_RESET_BYTES or data[0] not in _RESETS or not any(data[1:_SESSION_END]):
        return False
    if data[0] >> 3 == _RESET_CLIENT_V3:
        wrapped = int.from_bytes(data[-2:], "big")
        return size == _TLS_CRYPT_BYTES + wrapped and _is_first(data, _SESSION_END)
    if size == _PLAIN_RESET_BYTES:
        return data.endswith(_NO_ACKS)
    if size == _TLS_CRYPT_BYTES and _is_first(data, _SESSION_END):
        return True
    hmac = size - _PLAIN_RESET_BYTES - _REPLAY_BYTES
    return hmac in _HMAC_SIZES and data.endswith(_NO_ACKS) and _is_first(data, _SESSION_END + hmac)


def _is_first(data: bytes, position: int) -> bool:
    number = int.from_bytes(data[position : position + 4], "big")
    return 0 < number <= _MAX_RETRANSMISSIONS or 0 < number - _EARLY_NEGOTIATION <= _MAX_RETRANSMISSIONS


def report(data: bytes, wanted: frozenset[str], fields: Fields) -> None:
    """Add the wanted fields of one packet of a connection that is OpenVPN. `data` is not empty."""
    opcode = data[0] >> 3
    if not 0 < opcode <= _LAST_OPCODE:
        return
    if "openvpn" in wanted:
        fields["openvpn"] = [True]
    found: list[tuple[str, int]] = [
        ("openvpn.type", data[0]), ("openvpn.opcode", opcode), ("openvpn.keyid", data[0] & 7)
    ]  # fmt: skip
    if opcode == _DATA_V2:
        found.append(("openvpn.peerid", int.from_bytes(data[1:4], "big")))
    elif opcode != _DATA_V1 and len(data) >= _SESSION_END:
        found.append(("openvpn.sessionid", int.from_bytes(data[1:_SESSION_END], "big")))
    for name, value in found:
        if name in wanted:
            add(fields, name, value)


class OpenvpnDatagramDissector(DatagramDissector):
    """OpenVPN over UDP: found by the first datagram of the flow, or refuted by it."""

    __slots__ = ("_found", "_wanted")

    protocol: ClassVar[str] = "openvpn"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = OPENVPN_FIELDS

    def __init__(self, fields: frozenset[str] | None) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(OPENVPN_FIELDS if fields is None else fields)
        self._found = False
        both = frozenset({"openvpn"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not data or not self.alive[direction]:
            return
        if not self._found:
            if not may_be_reset(data):
                self.alive = NOTHING_ALIVE
                return
            self._found = True
        report(data, self._wanted, fields)


class OpenvpnStreamDissector(Dissector):
    """OpenVPN over TCP: packets with two bytes of length in front."""

    __slots__ = ("_found", "_frames", "_wanted")

    protocol: ClassVar[str] = "openvpn"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = OPENVPN_FIELDS

    def __init__(self, fields: frozenset[str] | None) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(OPENVPN_FIELDS if fields is None else fields)
        self._frames = (FrameBuffer(), FrameBuffer())
        self._found = False
        both = frozenset({"openvpn"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        frames = self._frames[direction]
        position = 0
        while position < len(data) and self.alive[direction]:
            message, position = frames.take(data, position)
            if message is None:
                if not self._found and not _may_begin(frames.pending):
                    self.alive = NOTHING_ALIVE
                return
            if not self._found and not may_be_reset(message):
                self.alive = NOTHING_ALIVE
                return
            self._found = True
            if message:
                if "openvpn.plen" in self._wanted:
                    add(fields, "openvpn.plen", len(message))
                report(message, self._wanted, fields)

    def restart(self, direction: Direction) -> None:
        self._frames[direction].clear()


def _may_begin(pending: bytearray) -> bool:
    """Whether an unfinished packet, with its length in front, can be a hard reset as far as it is there."""
    if len(pending) < LENGTH_BYTES:
        return not pending or pending[0] <= _MAX_RESET_BYTES >> 8
    size = pending[0] << 8 | pending[1]
    if not _PLAIN_RESET_BYTES <= size <= _MAX_RESET_BYTES:
        return False
    return len(pending) == LENGTH_BYTES or pending[LENGTH_BYTES] in _RESETS
