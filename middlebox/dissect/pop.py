"""POP3 (RFC 1939, RFC 2449, RFC 5034) with pipelining and STLS (RFC 2595).

Answers are matched to commands in order, because only the command says whether lines follow the answer. What stands in
a message or a listing is never an answer, and a line of an AUTH exchange is never a command.

`pop.request` and `pop.response` are the whole line with its CR LF. (tshark 4.0 leaves their value empty.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import Fields, FieldSpec, FieldType, add
from middlebox.dissect.lines import DotBody, without_terminator
from middlebox.dissect.text import TextDissector
from middlebox.dissect.tls import TlsPlan
from middlebox.flow import Direction

_CLIENT, _SERVER = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT

# Commands waiting for their answers; of more the oldest are forgotten. `chosen`, far beyond what clients pipeline.
MAX_PENDING_COMMANDS = 64

_ALWAYS_MULTILINE = frozenset({b"RETR", b"TOP", b"CAPA"})
_MULTILINE_WITHOUT_ARGUMENT = frozenset({b"LIST", b"UIDL", b"AUTH"})


class PopDissector(TextDissector):
    """One POP3 connection."""

    __slots__ = ("_body", "_challenged", "_greeted", "_pending")

    protocol: ClassVar[str] = "pop"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "pop": FieldSpec(FieldType.BOOL, None, "the packet carries POP3 in clear"),
        "pop.request": FieldSpec(FieldType.STRING, _CLIENT, "a line of the client, CR LF included"),
        "pop.request.command": FieldSpec(FieldType.STRING, _CLIENT, "the command, as written: STLS, user"),
        "pop.request.parameter": FieldSpec(FieldType.STRING, _CLIENT, "what follows the command"),
        "pop.response": FieldSpec(FieldType.STRING, _SERVER, "first line of an answer, CR LF included"),
        "pop.response.indicator": FieldSpec(FieldType.STRING, _SERVER, "+OK or -ERR"),
        "pop.response.description": FieldSpec(FieldType.STRING, _SERVER, "what follows the indicator"),
    }

    def __init__(self, *, wanted: bool, tls: TlsPlan | None) -> None:
        super().__init__(wanted=wanted, tls=tls)
        self._pending: list[tuple[bytes, bool]] = []  # command, whether lines follow +OK
        self._body = DotBody()
        self._greeted = False
        self._challenged = False  # the client's next line goes on with AUTH

    def _opaque(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        if direction == _CLIENT or not self._body.open:
            return position
        return self._body.skip(data, position)[0]

    def _client_line(self, line: bytes, fields: Fields) -> None:
        if self._challenged:
            self._challenged = False
            return
        text = without_terminator(line)
        word, _, argument = text.partition(b" ")
        argument = argument.lstrip(b" ")
        if self._wanted:
            add(fields, "pop.request", line.decode("latin-1"))
            if word:
                add(fields, "pop.request.command", word.decode("latin-1"))
            if argument:
                add(fields, "pop.request.parameter", argument.decode("latin-1"))
        command = word.upper()
        multiline = command in _ALWAYS_MULTILINE or (command in _MULTILINE_WITHOUT_ARGUMENT and not argument)
        self._pending.append((command, multiline))
        if len(self._pending) > MAX_PENDING_COMMANDS:
            del self._pending[0]
        if command == b"STLS":
            self._tls_was_requested()

    def _server_line(self, line: bytes, fields: Fields) -> None:
        text = without_terminator(line)
        indicator, _, description = text.partition(b" ")
        description = description.lstrip(b" ")
        if indicator == b"+":
            self._challenged = True
            return
        if indicator not in (b"+OK", b"-ERR"):
            return
        if self._wanted:
            add(fields, "pop.response", line.decode("latin-1"))
            add(fields, "pop.response.indicator", indicator.decode("latin-1"))
            if description:
                add(fields, "pop.response.description", description.decode("latin-1"))
        self._answer(accepted=indicator == b"+OK")

    def _answer(self, *, accepted: bool) -> None:
        """See which command was answered. The first answer of all is the greeting."""
        self._challenged = False
        if not self._greeted:
            self._greeted = True
            return
        if not self._pending:
            return
        command, multiline = self._pending.pop(0)
        if multiline and accepted:
            self._body.begin()
        if command == b"STLS":
            self._tls_was_answered(accepted=accepted)
