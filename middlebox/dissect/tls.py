"""TLS records and clear-text handshake messages (RFC 8446 sections 4 and 5, RFC 5246 section 6 and 7).

Reads records cut over segments and handshake messages cut over records, in both directions, until the handshake is
encrypted; after that only record headers, and those only if somebody wants them. The hello messages are read in
`tls_hello`. It must never try to decrypt, never copy the body of a record that nobody asked for, and never give up a
handshake that could still come in clear (a second ClientHello after HelloRetryRequest follows a ChangeCipherSpec).

SSL 2 hellos are refuted. Fields of a record appear with the segment that completes it, as in Wireshark.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import ClassVar

from middlebox.dissect.base import (
    NOTHING_ALIVE,
    Alive,
    Dissector,
    Fields,
    FieldSpec,
    FieldType,
    add,
    field_group,
)
from middlebox.dissect.tls_hello import (
    CLIENT_HELLO,
    HELLO_FIELDS,
    SERVER_HELLO,
    HelloReader,
    is_retry_request,
)
from middlebox.flow import Direction

CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23

# 2**14 of plaintext and the 2,048 that RFC 5246 section 6.2.3 lets a cipher add.
MAX_RECORD_BYTES = 2**14 + 2048
# A hello longer than this is not read: four times the largest record. `chosen`.
MAX_HANDSHAKE_BYTES = 2**16

_HEADER_BYTES = 5
_MESSAGE_HEADER_BYTES = 4
# HandshakeType of RFC 8446, RFC 5246 and their extensions, as far as they can be first in a record in clear.
_HANDSHAKE_TYPES = frozenset(
    {0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 13, 14, 15, 16, 20, 21, 22, 23, 24, 25, 67, 254}
)
# The early_data extension (RFC 8446 section 4.2.10) is always empty in a ClientHello, so it looks like this.
_EARLY_DATA_EXTENSION = b"\x00\x2a\x00\x00"

_RECORD_FIELDS: Mapping[str, FieldSpec] = {
    "tls": FieldSpec(FieldType.BOOL, None, "a TLS record begins or ends in this packet"),
    "tls.record.content_type": FieldSpec(
        FieldType.UINT, None, "20 change cipher spec, 21 alert, 22 handshake, 23 data"
    ),
    "tls.record.opaque_type": FieldSpec(
        FieldType.UINT, None, "content type 23 of a TLS 1.3 record, which hides another"
    ),
    "tls.record.version": FieldSpec(FieldType.UINT, None, "version in the record header: 0x0301, 0x0303"),
    "tls.record.length": FieldSpec(FieldType.UINT, None, "bytes in the record after its header"),
    "tls.change_cipher_spec": FieldSpec(FieldType.BOOL, None, "a ChangeCipherSpec message"),
    "tls.alert_message.level": FieldSpec(FieldType.UINT, None, "1 warning, 2 fatal; alerts in clear only"),
    "tls.alert_message.desc": FieldSpec(FieldType.UINT, None, "alert description, e.g. 40 handshake failure"),
}
_MESSAGE_FIELDS: Mapping[str, FieldSpec] = {
    "tls.handshake.type": FieldSpec(
        FieldType.UINT, None, "1 ClientHello, 2 ServerHello, 11 Certificate, ..."
    ),
    "tls.handshake.length": FieldSpec(
        FieldType.UINT, None, "bytes in the handshake message after its header"
    ),
}


class TlsPlan:
    """What the rules want from TLS, worked out once for all flows.

    `fields`: the wanted fields, None for all. `join_records`: whether a handshake message may be put together from
    several records. The Great Firewall of April 2024 does not (SP25), so its profile sets this to False.
    """

    __slots__ = ("_alive", "hello", "join_records", "length", "records", "type")

    def __init__(self, fields: frozenset[str] | None, *, join_records: bool) -> None:
        wanted = frozenset(TlsDissector.FIELDS if fields is None else fields & TlsDissector.FIELDS.keys())
        groups = {field_group(name) for name in wanted}
        self.records = "tls" in groups
        self.type = "tls.handshake.type" in wanted
        self.length = "tls.handshake.length" in wanted
        self.hello = HelloReader(wanted)
        self.join_records = join_records
        first = frozenset(groups)
        later = first - {"tls.handshake"}
        self._alive = (((later, later), (later, first)), ((first, later), (first, first)))

    def alive(self, *, client_clear: bool, server_clear: bool) -> Alive:
        """The live groups, given in which directions a handshake in clear may still come."""
        return self._alive[client_clear][server_clear]


@lru_cache(maxsize=256)
def tls_plan(fields: frozenset[str] | None, *, join_records: bool = True) -> TlsPlan:
    """The plan for these wanted fields (None: all), shared by every flow that wants the same."""
    return TlsPlan(fields, join_records=join_records)


class _Half:
    """One direction: where in a record and in a handshake message it is."""

    __slots__ = (
        "ciphered",
        "clear",
        "early_data",
        "header",
        "message",
        "out_of_step",
        "pending",
        "skip",
        "tail",
        "tail_header",
    )

    def __init__(self) -> None:
        self.pending = b""  # a record, or a record header, that is not complete
        self.skip = 0  # bytes still to come of a record whose body nobody wants
        self.header = b""  # that record's header
        self.message = b""  # a handshake message that goes on in the next record
        self.tail = 0  # bytes still to come of a handshake message whose body nobody wants
        self.tail_header = 0  # that message's type and length, as one number
        self.clear = True  # a handshake message in clear may still come
        self.ciphered = False  # ChangeCipherSpec seen
        self.early_data = False  # the ClientHello announced early data
        self.out_of_step = False  # after `restart`: where the next record starts is not known


class TlsDissector(Dissector):
    """TLS on any port. It is found by its first bytes and refuted by them."""

    __slots__ = ("_found", "_halves", "_plan", "_server_hello", "_tls13")

    protocol: ClassVar[str] = "tls"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {**_RECORD_FIELDS, **_MESSAGE_FIELDS, **HELLO_FIELDS}

    def __init__(self, plan: TlsPlan) -> None:
        self._plan = plan
        self._halves: list[_Half | None] = [None, None]
        self._found = False
        self._server_hello = False
        self._tls13 = False
        self.alive = plan.alive(client_clear=True, server_clear=True)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not data or not self.alive[direction]:
            return
        half = self._halves[direction]
        if half is None:
            if not 20 <= data[0] <= 23 or (len(data) > 1 and data[1] != 3):
                self.alive = NOTHING_ALIVE
                return
            half = self._halves[direction] = _Half()
        position = known = 0
        if half.skip:
            position = min(half.skip, len(data))
            half.skip -= position
            if half.skip:
                return
            self._report(half.header, fields)
        elif half.pending:
            known = len(half.pending)
            data = half.pending + data
            half.pending = b""
        self._records(direction, half, data, position, known, fields)

    def restart(self, direction: Direction) -> None:
        half = self._halves[direction]
        if half is not None:
            half.pending = half.message = b""
            half.skip = half.tail = 0
            half.out_of_step = True

    def _records(
        self, direction: Direction, half: _Half, data: bytes, position: int, known: int, fields: Fields
    ) -> None:
        """Walk over the records in `data` from `position` on; keep or skip what is left of the last one.

        known: so many bytes at the start of `data` had come before.
        """
        size = len(data)
        while position < size:
            body = position + _HEADER_BYTES
            if not _may_be_header(data, position):
                if half.out_of_step and self._found:
                    return  # the middle of a record: wait for a segment that starts with one
                self.alive = NOTHING_ALIVE
                return
            if body > size:
                half.pending = data[position:]
                return
            half.out_of_step = False
            kind = data[position]
            length = data[position + 3] << 8 | data[position + 4]
            if kind == HANDSHAKE and not self._found and body < size and data[body] not in _HANDSHAKE_TYPES:
                self.alive = NOTHING_ALIVE
                return
            wants_body = (kind == HANDSHAKE and half.clear) or (
                kind == ALERT and length == 2 and self._plan.records
            )
            if wants_body:
                end = body + length
                if end > size:
                    half.pending = data[position:]
                    if known <= body < size:
                        self._note_presence(fields)
                    return
                if kind == HANDSHAKE:
                    self._handshake_record(half, data, body, end, fields)
                elif not half.ciphered:
                    add(fields, "tls.alert_message.level", data[body])
                    add(fields, "tls.alert_message.desc", data[body + 1])
                self._found = True
                self._report(data[position:body], fields)
                position = end
            else:
                self._note_unread(direction, half, kind)
                half.header = data[position:body]
                position = body + length
                if position > size:
                    half.skip = position - size
                    self._note_presence(fields)
                    return
                self._report(half.header, fields)
            if not self.alive[direction]:
                return

    def _note_unread(self, direction: Direction, half: _Half, kind: int) -> None:
        """What a record whose body is not read says about what can still come."""
        self._found = True
        if kind == CHANGE_CIPHER_SPEC:
            half.ciphered = True
        elif kind == APPLICATION_DATA and half.clear and (self._server_hello or not half.early_data):
            # After early data the server may still ask for a second ClientHello, until it sent its ServerHello.
            self._encrypted(half)

    def _encrypted(self, half: _Half) -> None:
        """No handshake message in clear can come in this direction any more."""
        half.clear = False
        half.message = b""
        client, server = self._halves
        now = self._plan.alive(
            client_clear=client is None or client.clear, server_clear=server is None or server.clear
        )
        if now != self.alive:
            self.alive = now

    def _note_presence(self, fields: Fields) -> None:
        if self._plan.records:
            fields["tls"] = [True]

    def _report(self, header: bytes, fields: Fields) -> None:
        """Add the fields of a record that is complete."""
        if not self._plan.records:
            return
        fields["tls"] = [True]
        kind = header[0]
        hidden = kind == APPLICATION_DATA and self._tls13
        add(fields, "tls.record.opaque_type" if hidden else "tls.record.content_type", kind)
        add(fields, "tls.record.version", header[1] << 8 | header[2])
        add(fields, "tls.record.length", header[3] << 8 | header[4])
        if kind == CHANGE_CIPHER_SPEC:
            add(fields, "tls.change_cipher_spec", True)

    def _handshake_record(self, half: _Half, data: bytes, start: int, end: int, fields: Fields) -> None:
        """Read the handshake messages of one complete record, `data[start:end]`."""
        if half.ciphered and not half.message and not _may_be_hello(data, start, end):
            self._encrypted(half)
            return
        if half.tail:
            step = min(half.tail, end - start)
            half.tail -= step
            start += step
            if not half.tail:
                self._message(half.tail_header, fields)
        elif half.message:
            data = half.message + data[start:end]
            start, end = 0, len(data)
            half.message = b""
        while end - start >= _MESSAGE_HEADER_BYTES:
            header = int.from_bytes(data[start : start + _MESSAGE_HEADER_BYTES], "big")
            kind = header >> 24
            length = header & 0xFFFFFF
            if kind not in _HANDSHAKE_TYPES:
                return
            body = start + _MESSAGE_HEADER_BYTES
            start = body + length
            is_hello = kind in (CLIENT_HELLO, SERVER_HELLO) and length <= MAX_HANDSHAKE_BYTES
            if start > end:
                if not self._plan.join_records:
                    return
                if is_hello:
                    half.message = data[body - _MESSAGE_HEADER_BYTES : end]
                else:
                    half.tail = start - end
                    half.tail_header = header
                return
            self._message(header, fields)
            if is_hello:
                self._hello(half, kind, data, body, start, fields)
        if start < end and self._plan.join_records:
            half.message = data[start:end]

    def _message(self, header: int, fields: Fields) -> None:
        """Add the fields that every handshake message has. `header`: type and length as one 32-bit number."""
        if self._plan.type:
            add(fields, "tls.handshake.type", header >> 24)
        if self._plan.length:
            add(fields, "tls.handshake.length", header & 0xFFFFFF)

    def _hello(self, half: _Half, kind: int, data: bytes, start: int, end: int, fields: Fields) -> None:
        if kind == CLIENT_HELLO:
            half.early_data = data.find(_EARLY_DATA_EXTENSION, start, end) >= 0
        elif not is_retry_request(data, start):
            self._server_hello = True
        chose_tls13 = self._plan.hello.read(kind, data, start, end, fields)
        if kind == SERVER_HELLO and chose_tls13:
            self._tls13 = True


def _may_be_header(data: bytes, position: int) -> bool:
    """Whether a record can start here, as far as its header is there."""
    available = len(data) - position
    if not 20 <= data[position] <= 23:
        return False
    if available > 1 and data[position + 1] != 3:
        return False
    if available > 2 and data[position + 2] > 4:
        return False
    if available < _HEADER_BYTES:
        return True
    length = data[position + 3] << 8 | data[position + 4]
    return length <= MAX_RECORD_BYTES and (length > 0 or data[position] == APPLICATION_DATA)


def _may_be_hello(data: bytes, start: int, end: int) -> bool:
    """Whether a record after a ChangeCipherSpec is a hello in clear, not ciphertext.

    After a HelloRetryRequest both hellos come again (RFC 8446 appendix D.4). Type, a length below 2**16 and the major
    version leave ciphertext a chance of one in 2**23 to be taken for one.
    """
    return (
        end - start > _MESSAGE_HEADER_BYTES
        and data[start] in (CLIENT_HELLO, SERVER_HELLO)
        and data[start + 1] == 0
        and data[start + 4] == 3
    )
