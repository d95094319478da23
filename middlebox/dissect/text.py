"""What SMTP, IMAP and POP3 have in common: lines, parts that are no lines, and TLS that starts in mid-stream.

Once TLS was asked for, the first byte of a line decides: a TLS record hands that direction over to the TLS dissector
from this very byte on. So text injected behind the command or behind its answer is still read as text, and a client
that does not wait for the answer is still read as TLS. The same holds for the first byte of all (implicit TLS on a
port of a text protocol). It must never take bytes of a message body or a literal for lines.
"""

from __future__ import annotations

from abc import abstractmethod
from enum import Enum
from functools import lru_cache

from middlebox.dissect.base import NOTHING_ALIVE, Alive, Dissector, Fields
from middlebox.dissect.lines import LineBuffer
from middlebox.dissect.tls import TlsDissector, TlsPlan
from middlebox.flow import Direction

_RECORD_STARTS = frozenset(range(20, 24))
_TEXT_STARTS = frozenset(b"\t\r\n") | frozenset(range(0x20, 0x7F))


class Tls(Enum):
    """How near a text connection is to TLS."""

    UNKNOWN = "no line was read yet: it may be TLS from the start"
    NONE = "plain text"
    REQUESTED = "the client asked for it"
    ACCEPTED = "the server agreed, or one end began"


class TextDissector(Dissector):
    """A line protocol that can change over to TLS. Subclasses read its lines."""

    __slots__ = ("_handed_over", "_lines", "_plan", "_tls", "_tls_state", "_wanted")

    def __init__(self, *, wanted: bool, tls: TlsPlan | None) -> None:
        """`wanted`: whether the protocol's own fields are reported. `tls`: what to read behind the change."""
        self._wanted = wanted
        self._plan = tls
        self._lines = (LineBuffer(), LineBuffer())
        self._tls: TlsDissector | None = None
        self._tls_state = Tls.UNKNOWN
        self._handed_over = (False, False)
        self.alive = NOTHING_ALIVE
        self.couples_directions = True
        self._renew_alive()

    @abstractmethod
    def _client_line(self, line: bytes, fields: Fields) -> None:
        """Read one line of the client, terminator included."""

    @abstractmethod
    def _server_line(self, line: bytes, fields: Fields) -> None:
        """Read one line of the server, terminator included."""

    def _opaque(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        """The offset behind the bytes at `position` that are no lines (body, literal); `position` if they are."""
        return position

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not data or not self.alive[direction]:
            return
        if self._handed_over[direction]:
            self._feed_tls(direction, data, fields)
            return
        lines = self._lines[direction]
        read_line = self._server_line if direction else self._client_line
        position = 0
        while position < len(data):
            after = self._opaque(direction, data, position, fields)
            if after > position:
                position = after
                self._note_presence(fields)
                continue
            if not lines.partial and self._is_tls(data[position]):
                self._hand_over(direction)
                self._feed_tls(direction, data[position:], fields)
                return
            line, position = lines.take(data, position)
            if line is None:
                return
            if self._tls_state is Tls.UNKNOWN:
                self._tls_state = Tls.NONE
            read_line(line, fields)
            self._note_presence(fields)

    def restart(self, direction: Direction) -> None:
        self._lines[direction].clear()
        if self._tls is not None:
            self._tls.restart(direction)

    def _note_presence(self, fields: Fields) -> None:
        if self._wanted:
            fields[self.protocol] = [True]

    def _tls_was_requested(self) -> None:
        if self._tls_state is not Tls.ACCEPTED:
            self._tls_state = Tls.REQUESTED

    def _tls_was_answered(self, *, accepted: bool) -> None:
        """The server's answer to the request. After it no half line of the client can be a command any more."""
        if self._tls_state is Tls.REQUESTED:
            self._tls_state = Tls.ACCEPTED if accepted else Tls.NONE
            if accepted:
                self._lines[Direction.CLIENT_TO_SERVER].clear()

    def _is_tls(self, first_byte: int) -> bool:
        """Whether TLS begins with this first byte of a line."""
        if self._tls_state is Tls.NONE:
            return False
        if self._tls_state is Tls.ACCEPTED:
            return first_byte not in _TEXT_STARTS
        return first_byte in _RECORD_STARTS

    def _hand_over(self, direction: Direction) -> None:
        self._tls_state = Tls.ACCEPTED
        client, server = self._handed_over
        self._handed_over = (client, True) if direction else (True, server)
        self.couples_directions = not all(self._handed_over)
        if self._tls is None and self._plan is not None:
            self._tls = TlsDissector(self._plan)
        self._renew_alive()

    def _feed_tls(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if self._tls is None:
            return
        before = self._tls.alive
        self._tls.feed(direction, data, fields)
        if self._tls.alive is not before:
            self._renew_alive()

    def _renew_alive(self) -> None:
        if self._tls is not None:
            tls = self._tls.alive
        else:
            tls = (
                self._plan.alive(client_clear=True, server_clear=True)
                if self._plan is not None
                else NOTHING_ALIVE
            )
        if self._tls is not None and tls == NOTHING_ALIVE:
            self.alive = NOTHING_ALIVE  # refuted
            self.couples_directions = False
        else:
            self.alive = _combined(self.protocol if self._wanted else "", self._handed_over, tls)


@lru_cache(maxsize=256)
def _combined(protocol: str, handed_over: tuple[bool, bool], tls: Alive) -> Alive:
    """The groups of the text protocol where it is still read, and those of TLS. `protocol` "": not wanted."""
    client, server = (
        tls[end] if gone or not protocol else tls[end] | {protocol} for end, gone in enumerate(handed_over)
    )
    return client, server
