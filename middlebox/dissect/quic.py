"""QUIC on any UDP port: headers (RFC 8999, RFC 9000), and the TLS hellos in Initial packets (RFC 9001, RFC 9369).

Initials of versions 1 and 2 are opened, because anybody on the path can do so; handshake fields found in them carry the
names that Wireshark gives them, `tls.handshake.*`. Nothing else is ever decrypted. Coalesced packets are all read.

`QuicReading` is how well a given box reads QUIC: the Great Firewall does not put a ClientHello together from several
packets, and a datagram of anything else beforehand hides it (USENIX25, quic-sni).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, DatagramDissector, Fields, FieldSpec, FieldType, add
from middlebox.dissect.quic_packet import CRYPTO, VERSION_2, Kind, LongHeader, frames, long_header
from middlebox.dissect.tls import TlsPlan, tls_plan
from middlebox.dissect.tls_hello import CLIENT_HELLO, SERVER_HELLO
from middlebox.flow import Direction

if TYPE_CHECKING:
    from middlebox.dissect.quic_crypto import Opened, Opener

# Handshake bytes of one direction that are kept: as in TLS over TCP. `chosen`.
MAX_CRYPTO_BYTES = 2**16
# Pieces of them that wait for what comes before. `chosen`: browsers cut a hello into a dozen or two.
MAX_CRYPTO_PIECES = 64

_UINT, _BOOL, _BYTES = FieldType.UINT, FieldType.BOOL, FieldType.BYTES
_ANY_PACKET: Mapping[str, FieldSpec] = {
    "quic": FieldSpec(_BOOL, None, "a QUIC packet"),
    "quic.header_form": FieldSpec(_UINT, None, "1 long header, 0 short header"),
    "quic.dcid": FieldSpec(_BYTES, None, "destination connection ID, if not empty"),
    "quic.packet_length": FieldSpec(_UINT, None, "bytes of each packet in the datagram"),
}
_LONG_PACKET: Mapping[str, FieldSpec] = {
    "quic.version": FieldSpec(_UINT, None, "version of a long header: 1, or 0x6b3343cf for version 2"),
    "quic.scid": FieldSpec(_BYTES, None, "source connection ID, if not empty"),
    "quic.long.packet_type": FieldSpec(_UINT, None, "version 1: 0 Initial, 1 0-RTT, 2 Handshake, 3 Retry"),
    "quic.long.packet_type_v2": FieldSpec(_UINT, None, "version 2: 1 Initial, 2 0-RTT, 3 Handshake, 0 Retry"),
    "quic.token_length": FieldSpec(_UINT, None, "bytes of the token in an Initial"),
    "quic.length": FieldSpec(_UINT, None, "bytes of packet number and payload"),
}
_OPENED: Mapping[str, FieldSpec] = {
    "quic.packet_number": FieldSpec(_UINT, None, "of an Initial that could be opened"),
    "quic.frame_type": FieldSpec(_UINT, None, "frames of such an Initial: 6 CRYPTO, 2 ACK"),
    "quic.crypto.offset": FieldSpec(_UINT, None, "where in the handshake a CRYPTO frame begins"),
    "quic.crypto.length": FieldSpec(_UINT, None, "bytes in a CRYPTO frame"),
}


@dataclass(frozen=True)
class QuicReading:
    """How a box reads QUIC.

    join_initials: a hello may be put together from several packets. patience: so many datagrams of a flow may be no
    QUIC before it is given up (chosen; 1 for the Great Firewall: quic-sni). opens_server: Initials of the server are
    opened too, not only the client's.
    """

    join_initials: bool = True
    patience: int = 8
    opens_server: bool = True


READS_ALL = QuicReading()


class QuicPlan:
    """What the rules want from QUIC, worked out once for all flows. `fields`: None for all."""

    __slots__ = ("_alive", "fields", "opener", "opens", "reading", "tls")

    def __init__(self, fields: frozenset[str] | None, reading: QuicReading) -> None:
        from middlebox.dissect.quic_crypto import opener  # only now: rules without QUIC need no such library

        self.opener = opener
        self.fields = frozenset(
            QuicDissector.FIELDS if fields is None else fields & QuicDissector.FIELDS.keys()
        )
        self.tls: TlsPlan = tls_plan(fields)
        self.reading = reading
        groups = {"quic"} if self.fields else set()
        client_tls = self.tls.alive(client_clear=True, server_clear=True)[0]
        self.opens = bool(client_tls or self.fields & _OPENED.keys())
        first = frozenset(groups) | client_tls
        later = frozenset({"quic"}) if self.fields & _ANY_PACKET.keys() else frozenset[str]()
        self._alive = (((later, later), (later, first)), ((first, later), (first, first)))

    def alive(self, *, client_long: bool, server_long: bool) -> tuple[frozenset[str], frozenset[str]]:
        """The live groups, given in which directions packets with long headers may still come."""
        return self._alive[client_long][server_long]


@lru_cache(maxsize=64)
def quic_plan(fields: frozenset[str] | None, reading: QuicReading = READS_ALL) -> QuicPlan:
    """The plan for these wanted fields (None: all), shared by every flow that wants the same."""
    return QuicPlan(fields, reading)


class _Half:
    """One direction."""

    __slots__ = ("early", "handshake", "largest", "long", "offset", "scid_bytes")

    def __init__(self) -> None:
        self.largest = -1  # packet number of an Initial
        self.long = True  # packets with long headers may still come
        self.scid_bytes = 0  # length of the connection ID that this end wants to be called by
        self.offset = 0  # of the handshake bytes that were read
        self.handshake = b""  # read on from there: a message that is not complete
        self.early: list[tuple[int, bytes]] = []  # pieces that wait for what comes before


class QuicDissector(DatagramDissector):
    """QUIC on any port: found by a long header of a known version."""

    __slots__ = ("_connection_id", "_found", "_halves", "_others", "_plan")

    protocol: ClassVar[str] = "quic"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {**_ANY_PACKET, **_LONG_PACKET, **_OPENED}

    def __init__(self, plan: QuicPlan) -> None:
        self._plan = plan
        self._halves = (_Half(), _Half())
        self._found = False
        self._others = 0  # datagrams that were no QUIC, before any that was
        self._connection_id = b""  # from which the keys of the Initials follow
        self.alive = plan.alive(client_long=True, server_long=True)
        # The server's Initials are opened with what the client's first one said, and that one was seen.
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not self.alive[direction]:
            return
        position = 0
        while position < len(data):
            if not data[position] & 0x80:
                if self._found and data[position] & 0x40:
                    self._short(direction, data, position, fields)
                break
            header = long_header(data, position)
            if header is None:
                break
            self._found = True
            self._long(direction, data, position, header, fields)
            position = header.end
        if not self._found:
            self._others += 1
            if self._others >= self._plan.reading.patience:
                self.alive = NOTHING_ALIVE

    def _add(self, fields: Fields, name: str, value: int | bytes | bool) -> None:  # noqa: FBT001 - a value like another
        if name in self._plan.fields:
            add(fields, name, value)

    def _short(self, direction: Direction, data: bytes, position: int, fields: Fields) -> None:
        """A packet of the established connection, up to the end of the datagram."""
        half = self._halves[direction]
        if half.long:
            half.long = False
            half.handshake = b""
            half.early = []
            client, server = self._halves
            alive = self._plan.alive(client_long=client.long, server_long=server.long)
            if alive != self.alive:
                self.alive = alive
        if not self._plan.fields:
            return
        self._note_presence(fields)
        self._add(fields, "quic.packet_length", len(data) - position)
        self._add(fields, "quic.header_form", 0)
        size = self._halves[direction.opposite].scid_bytes
        if size:
            self._add(fields, "quic.dcid", data[position + 1 : position + 1 + size])

    def _note_presence(self, fields: Fields) -> None:
        if "quic" in self._plan.fields:
            fields["quic"] = [True]

    def _long(
        self, direction: Direction, data: bytes, start: int, header: LongHeader, fields: Fields
    ) -> None:
        self._halves[direction].scid_bytes = len(header.scid)
        if self._plan.fields:
            self._report(header, header.end - start, fields)
        if header.kind is not Kind.INITIAL or not self._plan.opens:
            return
        if direction is Direction.SERVER_TO_CLIENT and not self._plan.reading.opens_server:
            return
        opened = self._open(direction, data, start, header)
        if opened is not None:
            half = self._halves[direction]
            half.largest = max(half.largest, opened.packet_number)
            self._add(fields, "quic.packet_number", opened.packet_number)
            self._frames(half, opened.payload, fields)

    def _report(self, header: LongHeader, size: int, fields: Fields) -> None:
        self._note_presence(fields)
        self._add(fields, "quic.packet_length", size)
        self._add(fields, "quic.header_form", 1)
        if header.kind is not None:
            name = "quic.long.packet_type_v2" if header.version == VERSION_2 else "quic.long.packet_type"
            self._add(fields, name, header.type_bits)
        self._add(fields, "quic.version", header.version)
        if header.dcid:
            self._add(fields, "quic.dcid", header.dcid)
        if header.scid:
            self._add(fields, "quic.scid", header.scid)
        if header.token_length >= 0:
            self._add(fields, "quic.token_length", header.token_length)
        if header.length >= 0:
            self._add(fields, "quic.length", header.length)

    def _open(self, direction: Direction, data: bytes, start: int, header: LongHeader) -> Opened | None:
        """Take the protection off an Initial. The client's may begin anew, with other keys, after a Retry."""
        largest = self._halves[direction].largest
        for connection_id in (
            self._connection_id,
            header.dcid if direction is Direction.CLIENT_TO_SERVER else b"",
        ):
            if not connection_id:
                continue
            opener: Opener = self._plan.opener(header.version, connection_id, direction)
            opened = opener.open(data, start, header.number_at, header.end, largest)
            if opened is not None:
                self._connection_id = connection_id
                return opened
        return None

    def _frames(self, half: _Half, payload: bytes, fields: Fields) -> None:
        """Report the frames of an opened Initial, and read the handshake in its CRYPTO frames."""
        pieces = []
        for frame in frames(payload):
            self._add(fields, "quic.frame_type", frame.type)
            if frame.type == CRYPTO:
                self._add(fields, "quic.crypto.offset", frame.offset)
                self._add(fields, "quic.crypto.length", len(frame.data))
                pieces.append((frame.offset, frame.data))
        if not self._plan.reading.join_initials:
            half = _Half()
        known = half.offset + len(half.handshake)
        if self._plan.tls.records and any(offset + len(data) > known for offset, data in pieces):
            fields["tls"] = [True]
        half.early = sorted(half.early + pieces)
        self._join(half)
        self._messages(half, fields)

    def _join(self, half: _Half) -> None:
        """Append to the handshake what goes on where it ends; keep the rest, within limits."""
        waiting = []
        for offset, piece in half.early:
            end = half.offset + len(half.handshake)
            if offset > end:
                waiting.append((offset, piece))
            elif offset + len(piece) > end:
                half.handshake += piece[end - offset :]
        room = MAX_CRYPTO_BYTES - len(half.handshake)
        half.early = []
        for offset, piece in waiting[:MAX_CRYPTO_PIECES]:
            room -= len(piece)
            if room >= 0:
                half.early.append((offset, piece))

    def _messages(self, half: _Half, fields: Fields) -> None:
        """Report every complete handshake message and forget it."""
        tls = self._plan.tls
        data = half.handshake
        position = 0
        while position + 4 <= len(data):
            kind = data[position]
            length = int.from_bytes(data[position + 1 : position + 4], "big")
            body = position + 4
            end = body + length
            if end > len(data):
                break
            if tls.type:
                add(fields, "tls.handshake.type", kind)
            if tls.length:
                add(fields, "tls.handshake.length", length)
            if kind in (CLIENT_HELLO, SERVER_HELLO):
                tls.hello.read(kind, data, body, end, fields)
            position = end
        half.offset += position
        half.handshake = data[position:] if len(data) - position <= MAX_CRYPTO_BYTES else b""
