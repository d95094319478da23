"""HTTP/1 (RFC 9112): request and response headers, on any port.

A message is reported when its header is complete, in the segment that completes it; tshark waits for the body too
unless `http.desegment_body` is off. Bodies (Content-Length, chunked, until close) are skipped and never taken for a
message. Behind CONNECT follows TLS, if the box wants it. It must never hold more of a header than MAX_HEADER_BYTES.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from functools import lru_cache
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, Alive, Dissector, Fields, FieldSpec, add
from middlebox.dissect.http_fields import HEADER_FIELDS, HTTP_FIELDS
from middlebox.dissect.http_message import (
    READS_ALL,
    SIZE_DIGITS,
    Framing,
    HttpReading,
    full_uri,
    is_hex,
    lines_of,
    may_start,
    request_line,
    status_line,
    unfolded,
)
from middlebox.dissect.tls import TlsDissector, TlsPlan
from middlebox.flow import Direction

_CLIENT, _SERVER = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT

# `chosen`: twice what nginx and Apache take by default (8 kB a line).
MAX_HEADER_BYTES = 16_384
# Requests that wait for their response; of more the oldest are forgotten. `chosen`, beyond what clients pipeline.
MAX_PENDING_REQUESTS = 64

_HEADER_END = re.compile(rb"\n\r?\n")


class HttpPlan:
    """What the rules want from HTTP, worked out once for all flows. `fields`: None for all."""

    __slots__ = ("alive", "fields", "headers", "reading", "wants_responses")

    def __init__(self, fields: frozenset[str] | None, reading: HttpReading) -> None:
        self.fields = frozenset(HTTP_FIELDS if fields is None else fields & HTTP_FIELDS.keys())
        self.headers = {key: name for key, name in HEADER_FIELDS.items() if name in self.fields}
        self.wants_responses = any(HTTP_FIELDS[name].sent_by is not _CLIENT for name in self.fields)
        self.reading = reading
        self.alive = frozenset({"http"})


@lru_cache(maxsize=64)
def http_plan(fields: frozenset[str] | None, reading: HttpReading = READS_ALL) -> HttpPlan:
    """The plan for these wanted fields (None: all), shared by every flow that wants the same."""
    return HttpPlan(fields, reading)


class _At(Enum):
    """What comes next in one direction."""

    HEADER = "a request or status line"
    BODY = "bytes of a body"
    CHUNK = "the size of a chunk"
    CHUNK_END = "the line end behind a chunk"
    TRAILER = "lines behind the last chunk"
    TUNNEL = "what follows CONNECT: TLS, another request, or anything else"
    TLS = "TLS behind CONNECT"
    OPAQUE = "nothing that is read"


class _Half:
    """One direction."""

    __slots__ = ("at", "chunked", "pending", "skip")

    def __init__(self) -> None:
        self.at = _At.HEADER
        self.pending = b""  # of a header or a line that is not complete
        self.skip = 0  # bytes still to come of a body or chunk
        self.chunked = False


class HttpDissector(Dissector):
    """HTTP/1 on any port: found by its first bytes and refuted by them."""

    __slots__ = ("_found", "_halves", "_plan", "_requests", "_tls", "_tls_plan")

    protocol: ClassVar[str] = "http"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = HTTP_FIELDS

    def __init__(self, plan: HttpPlan, tls: TlsPlan | None = None) -> None:
        self._plan = plan
        self._halves = (_Half(), _Half())
        self._found = False
        self._requests: list[bytes] = []  # methods that wait for their response
        self._tls_plan = tls  # None as soon as nothing can be tunnelled
        self._tls: TlsDissector | None = None
        self.couples_directions = plan.wants_responses
        self.alive = NOTHING_ALIVE
        self._renew_alive()

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        half = self._halves[direction]
        position = 0
        if half.pending:
            data = half.pending + data
            half.pending = b""
        while position < len(data) and self.alive[direction]:
            after = self._STEPS[half.at](self, direction, data, position, fields)
            if after < 0:
                half.pending = data[position:]
                return
            position = after

    def restart(self, direction: Direction) -> None:
        half = self._halves[direction]
        half.pending = b""
        if half.at is _At.TLS:
            if self._tls is not None:
                self._tls.restart(direction)
        elif half.at is not _At.OPAQUE:
            half.at = _At.HEADER  # nobody knows: go on at the next segment that starts like a message
            half.skip = 0

    # --- one step in one direction: the offset after it, or -1 when more bytes are needed ------------------------

    def _header(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        while position < len(data) and data[position] in b"\r\n":
            position += 1  # RFC 9112 section 2.2: empty lines before a request line are ignored
        if position == len(data):
            return position
        if not may_start(direction, data, position):
            self._give_up(direction)
            return position
        ending = b"\r\n\r\n" if self._plan.reading.crlf_only else None
        if ending is None:
            found = _HEADER_END.search(data, position)
            end = found.end() if found else -1
        else:
            end = data.find(ending, position) + len(ending)
            end = end if end >= len(ending) else -1
        too_long = (end if end >= 0 else len(data)) - position > MAX_HEADER_BYTES
        if end < 0 and not too_long:
            return -1
        self._found = True
        header = data[position : position + MAX_HEADER_BYTES] if too_long else data[position:end]
        lines = lines_of(header, crlf_only=ending is not None)
        if direction is _CLIENT:
            self._request(lines, fields)
        else:
            self._response(lines, fields)
        if too_long:
            self._halves[direction].at = _At.OPAQUE
            self._renew_alive()
            return len(data)
        return end

    def _body(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        half = self._halves[direction]
        step = min(half.skip, len(data) - position)
        half.skip -= step
        if not half.skip:
            half.at = _At.CHUNK_END if half.chunked else _At.HEADER
        self._note_presence(fields)
        return position + step

    def _chunk(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        half = self._halves[direction]
        end = data.find(b"\n", position) + 1
        if not end:
            if len(data) - position > MAX_HEADER_BYTES:
                self._give_up(direction)
                return position
            return -1
        size = data[position:end].partition(b";")[0].strip()
        if not 0 < len(size) <= SIZE_DIGITS or not is_hex(size):
            self._give_up(direction)
            return position
        half.skip = int(size, 16)
        half.at = _At.BODY if half.skip else _At.TRAILER
        self._note_presence(fields)
        return end

    def _chunk_end(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        end = data.find(b"\n", position, position + 2) + 1
        if not end:
            if len(data) - position >= 2:
                self._give_up(direction)
                return position
            return -1
        self._halves[direction].at = _At.CHUNK
        return end

    def _trailer(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        end = data.find(b"\n", position) + 1
        if not end:
            return -1 if len(data) - position <= MAX_HEADER_BYTES else len(data)
        if not data[position:end].strip():
            half = self._halves[direction]
            half.at = _At.HEADER
            half.chunked = False
        self._note_presence(fields)
        return end

    def _tunnel(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        """The proxy may have refused, and the client asks again; else this is what the tunnel was for."""
        half = self._halves[direction]
        half.at = _At.HEADER if may_start(direction, data, position) else _At.TLS
        self._renew_alive()
        return position

    def _into_tls(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        if self._tls is None and self._tls_plan is not None:
            self._tls = TlsDissector(self._tls_plan)
        if self._tls is not None:
            before = self._tls.alive
            self._tls.feed(direction, data[position:], fields)
            if self._tls.alive is not before:
                self._renew_alive()
        return len(data)

    def _opaque(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        return len(data)

    _STEPS: ClassVar[Mapping[_At, Callable[[HttpDissector, Direction, bytes, int, Fields], int]]] = {
        _At.HEADER: _header,
        _At.BODY: _body,
        _At.CHUNK: _chunk,
        _At.CHUNK_END: _chunk_end,
        _At.TRAILER: _trailer,
        _At.TUNNEL: _tunnel,
        _At.TLS: _into_tls,
        _At.OPAQUE: _opaque,
    }

    # --- a complete header ---------------------------------------------------------------------------------------

    def _request(self, lines: list[bytes], fields: Fields) -> None:
        reading = self._plan.reading
        method, target, version = request_line(lines[0])
        target = target[: reading.uri_bytes]
        self._note_presence(fields)
        self._add(fields, "http.request", True)
        self._add(fields, "http.request.method", method.decode("latin-1"))
        self._add(fields, "http.request.uri", target.decode("latin-1"))
        if version:
            self._add(fields, "http.request.version", version.decode("latin-1"))
        framing = self._fields(lines, "http.request.line", fields)
        if "http.request.full_uri" in self._plan.fields and framing.host:
            add(fields, "http.request.full_uri", full_uri(method, target, framing.host).decode("latin-1"))
        self._requests.append(method)
        if len(self._requests) > MAX_PENDING_REQUESTS:
            del self._requests[0]
        half = self._halves[_CLIENT]
        if reading.first_request_only:
            half.at = _At.OPAQUE
        elif method == b"CONNECT":
            half.at = _At.TUNNEL
        else:
            _skip_body(half, framing, until_close=False)
        if method != b"CONNECT" or reading.first_request_only:
            self._tls_plan = None  # nothing is tunnelled here
        self._renew_alive()

    def _response(self, lines: list[bytes], fields: Fields) -> None:
        status = status_line(lines[0])
        if status is None:
            self._give_up(_SERVER)
            return
        version, code, phrase = status
        self._note_presence(fields)
        self._add(fields, "http.response", True)
        self._add(fields, "http.response.version", version.decode("latin-1"))
        self._add(fields, "http.response.code", code)
        if phrase:
            self._add(fields, "http.response.phrase", phrase.decode("latin-1"))
        framing = self._fields(lines, "http.response.line", fields)
        half = self._halves[_SERVER]
        if 100 <= code < 200 and code != 101:
            return  # RFC 9110 section 15.2: the final response is still to come
        method = self._requests.pop(0) if self._requests else b""
        if code == 101:
            half.at = self._halves[_CLIENT].at = _At.OPAQUE
            self._renew_alive()
        elif method == b"CONNECT" and 200 <= code < 300:
            half.at = _At.TLS
            self._renew_alive()
        elif method != b"HEAD" and code not in (204, 304):
            _skip_body(half, framing, until_close=True)
            self._renew_alive()

    def _fields(self, lines: list[bytes], line_field: str, fields: Fields) -> Framing:
        """Add the header fields, and find out how long the body is."""
        framing = Framing()
        wants_lines = line_field in self._plan.fields
        limit = self._plan.reading.header_name_limit
        for line in unfolded(lines[1:]):
            name, colon, value = line.partition(b":")
            if not colon:
                continue
            if limit is not None and len(name) >= limit:
                break
            if wants_lines:
                add(fields, line_field, line.decode("latin-1"))
            key = name.strip().lower()
            value = value.strip()
            field = self._plan.headers.get(key)
            if field is not None:
                add(fields, field, value.decode("latin-1"))
            framing.note(key, value)
        return framing

    def _add(self, fields: Fields, name: str, value: str | int | bool) -> None:  # noqa: FBT001 - a value like another
        if name in self._plan.fields:
            add(fields, name, value)

    def _note_presence(self, fields: Fields) -> None:
        if "http" in self._plan.fields:
            fields["http"] = [True]

    def _give_up(self, direction: Direction) -> None:
        """These bytes are no HTTP. Before the first message of all they refute it; later this direction is lost."""
        if not self._found:
            self.alive = NOTHING_ALIVE
            self.couples_directions = False
            return
        half = self._halves[direction]
        half.at = _At.OPAQUE
        self._renew_alive()

    def _renew_alive(self) -> None:
        tls = self._tls_alive()
        client, server = (
            frozenset() if half.at is _At.OPAQUE
            else tls[end] if half.at is _At.TLS
            else self._plan.alive | tls[end]
            for end, half in enumerate(self._halves)
        )  # fmt: skip
        self.couples_directions = self._plan.wants_responses and bool(client | server)
        if (client, server) != self.alive:
            self.alive = _alive(client, server)

    def _tls_alive(self) -> Alive:
        if self._tls is not None:
            return self._tls.alive
        return (
            NOTHING_ALIVE
            if self._tls_plan is None
            else self._tls_plan.alive(client_clear=True, server_clear=True)
        )


def _skip_body(half: _Half, framing: Framing, *, until_close: bool) -> None:
    """Let this direction skip the body (RFC 9112 section 6.3). `until_close`: one of unknown length may follow."""
    half.chunked = framing.chunked
    if framing.chunked:
        half.at = _At.CHUNK
    elif framing.length:
        half.at = _At.BODY
        half.skip = framing.length
    elif framing.length is None and until_close:
        half.at = _At.OPAQUE


@lru_cache(maxsize=64)
def _alive(client: frozenset[str], server: frozenset[str]) -> Alive:
    return client, server
