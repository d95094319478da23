"""What stands in the clear in QUIC packets, and the frames of an Initial (RFC 8999, RFC 9000 sections 12, 17, 19).

Only functions of bytes that are there. They never raise; what does not fit is None.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

VERSION_NEGOTIATION = 0
VERSION_1 = 1
VERSION_2 = 0x6B3343CF

MAX_CONNECTION_ID_BYTES = 20
_PADDING, _PING, _ACK, _ACK_ECN, CRYPTO, _CLOSE = 0, 1, 2, 3, 6, 0x1C


class Kind(IntEnum):
    """Types of long-header packets; the numbers are those of version 1."""

    INITIAL = 0
    ZERO_RTT = 1
    HANDSHAKE = 2
    RETRY = 3


# RFC 9369 section 3.2: version 2 gave the types other numbers.
_KINDS_V2 = (Kind.RETRY, Kind.INITIAL, Kind.ZERO_RTT, Kind.HANDSHAKE)


class LongHeader(NamedTuple):
    """The header of a packet in `data[start:end]`. `kind` is None if the version is not known.

    type_bits: the type as written. length: of packet number and payload, -1 if the packet has none. number_at: where
    the packet number starts.
    """

    version: int
    type_bits: int
    kind: Kind | None
    dcid: bytes
    scid: bytes
    token_length: int
    length: int
    number_at: int
    end: int


def is_known(version: int) -> bool:
    """Version negotiation, 1, 2, drafts, and the reserved ?a?a?a?a (RFC 9000 section 15)."""
    return (
        version in (VERSION_NEGOTIATION, VERSION_1, VERSION_2)
        or version >> 8 == 0xFF0000
        or version & 0x0F0F0F0F == 0x0A0A0A0A
    )


def long_header(data: bytes, start: int) -> LongHeader | None:
    """The long header at `start`; None if there is none, or if it does not fit into the datagram."""
    size = len(data)
    if size < start + 7 or not data[start] & 0x80:
        return None
    version = int.from_bytes(data[start + 1 : start + 5], "big")
    ids = _connection_ids(data, start + 5)
    if ids is None or not is_known(version):
        return None
    dcid, scid, position = ids
    type_bits = data[start] >> 4 & 3
    if version not in (VERSION_1, VERSION_2):
        return LongHeader(version, type_bits, None, dcid, scid, -1, -1, position, size)
    if not data[start] & 0x40:
        return None
    kind = Kind(type_bits) if version == VERSION_1 else _KINDS_V2[type_bits]
    if kind is Kind.RETRY:
        return LongHeader(version, type_bits, kind, dcid, scid, -1, -1, position, size)
    token_length = -1
    if kind is Kind.INITIAL:
        token_length, position = varint(data, position)
        if position < 0 or position + token_length > size:
            return None
        position += token_length
    length, position = varint(data, position)
    if position < 0 or position + length > size:
        return None
    return LongHeader(version, type_bits, kind, dcid, scid, token_length, length, position, position + length)


def _connection_ids(data: bytes, position: int) -> tuple[bytes, bytes, int] | None:
    """Destination and source connection ID, and the offset behind them."""
    ids = []
    for _ in range(2):
        if position >= len(data) or data[position] > MAX_CONNECTION_ID_BYTES:
            return None
        end = position + 1 + data[position]
        if end > len(data):
            return None
        ids.append(data[position + 1 : end])
        position = end
    return ids[0], ids[1], position


def varint(data: bytes, position: int) -> tuple[int, int]:
    """A variable-length integer (RFC 9000 section 16) and the offset behind it, -1 if it is cut off."""
    if position < 0 or position >= len(data):
        return 0, -1
    size = 1 << (data[position] >> 6)
    end = position + size
    if end > len(data):
        return 0, -1
    return int.from_bytes(data[position:end], "big") & ((1 << (8 * size - 2)) - 1), end


class Frame(NamedTuple):
    """A frame of an Initial packet. `offset` and `data` are those of a CRYPTO frame."""

    type: int
    offset: int
    data: bytes


def frames(payload: bytes) -> Iterator[Frame]:
    """The frames of an Initial, one for each run of padding; ends at the first that is cut off or not allowed here."""
    position = 0
    while position < len(payload):
        kind = payload[position]
        position += 1
        if kind == _PADDING:
            position = len(payload) - len(payload[position:].lstrip(b"\0"))
            yield Frame(kind, 0, b"")
        elif kind == _PING:
            yield Frame(kind, 0, b"")
        elif kind in (_ACK, _ACK_ECN):
            yield Frame(kind, 0, b"")
            position = _behind_ack(payload, position, with_ecn=kind == _ACK_ECN)
            if position < 0:
                return
        elif kind == CRYPTO:
            offset, position = varint(payload, position)
            length, position = varint(payload, position)
            if position < 0 or position + length > len(payload):
                return
            yield Frame(kind, offset, payload[position : position + length])
            position += length
        else:
            if kind == _CLOSE:
                yield Frame(kind, 0, b"")  # nothing of interest is behind it
            return


def _behind_ack(payload: bytes, position: int, *, with_ecn: bool) -> int:
    """The offset behind an ACK frame whose type was read; -1 if it is cut off."""
    for _ in range(2):
        _, position = varint(payload, position)
    ranges, position = varint(payload, position)
    for _ in range(1 + 2 * ranges + 3 * with_ecn):
        _, position = varint(payload, position)
        if position < 0:
            return -1
    return position
