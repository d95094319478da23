"""SMTP (RFC 5321) with pipelining (RFC 2920), BDAT (RFC 3030), AUTH (RFC 4954) and STARTTLS (RFC 3207).

Commands are found wherever they start: several in a segment, one over several. What stands in a message body, in a
BDAT chunk or in an AUTH exchange is never a command. Replies are matched to commands by counting them, so both
directions should be fed; without the server's, a DATA that was refused and an AUTH exchange cannot be told.

As in Wireshark, `smtp.req.command` is the first four letters of the line (STARTTLS shows as STAR). Every line of a
multi-line reply is a `smtp.response`; tshark 4.0 shows only the first one of each packet.
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

_READY, _AUTH_CHALLENGE, _START_MAIL_INPUT = 220, 334, 354
# A connection opens with 220, 554 (RFC 5321 section 3.1) or 421 (section 3.8): no command is answered by it.
_GREETINGS = frozenset({220, 421, 554})
# Enough for a chunk size of 2**64; a longer number is not one (RFC 3030 section 2 sets no limit). `chosen`.
_MAX_CHUNK_DIGITS = 20

_AUTH_FIELDS: Mapping[bytes, tuple[str, ...]] = {
    b"LOGIN": ("smtp.auth.username", "smtp.auth.password"),
    b"PLAIN": ("smtp.auth.username_password",),
}


class SmtpDissector(TextDissector):
    """One SMTP connection."""

    __slots__ = (
        "_awaited",
        "_awaited_in",
        "_body",
        "_challenged",
        "_chunk",
        "_credentials",
        "_greeted",
        "_unanswered",
    )

    protocol: ClassVar[str] = "smtp"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "smtp": FieldSpec(FieldType.BOOL, None, "the packet carries SMTP in clear"),
        "smtp.req": FieldSpec(FieldType.BOOL, _CLIENT, "a line of the client outside message bodies"),
        "smtp.command_line": FieldSpec(FieldType.STRING, _CLIENT, "a whole command, CR LF included"),
        "smtp.req.command": FieldSpec(
            FieldType.STRING, _CLIENT, "the first four letters of a command: STAR for STARTTLS"
        ),
        "smtp.req.parameter": FieldSpec(
            FieldType.STRING, _CLIENT, "a command from its sixth byte on: TLS for STARTTLS"
        ),
        "smtp.auth.username": FieldSpec(FieldType.STRING, _CLIENT, "user name of AUTH LOGIN, base64 as sent"),
        "smtp.auth.password": FieldSpec(FieldType.STRING, _CLIENT, "password of AUTH LOGIN, base64 as sent"),
        "smtp.auth.username_password": FieldSpec(
            FieldType.STRING, _CLIENT, "credentials of AUTH PLAIN, base64 as sent"
        ),
        "smtp.eom": FieldSpec(FieldType.BOOL, _CLIENT, "the dot that ends a message"),
        "smtp.rsp": FieldSpec(FieldType.BOOL, _SERVER, "a line of the server"),
        "smtp.response": FieldSpec(FieldType.STRING, _SERVER, "a line of a reply, CR LF included"),
        "smtp.response.code": FieldSpec(FieldType.UINT, _SERVER, "reply code of such a line"),
        "smtp.rsp.parameter": FieldSpec(FieldType.STRING, _SERVER, "such a line from its fifth byte on"),
    }

    def __init__(self, *, wanted: bool, tls: TlsPlan | None) -> None:
        super().__init__(wanted=wanted, tls=tls)
        self._unanswered = 0  # lines of the client to which a reply is due
        self._awaited = b""  # the command whose reply changes how the client is read: DATA, AUTH or STARTTLS
        self._awaited_in = 0  # how many replies from now it comes
        self._greeted = False
        self._body = DotBody()
        self._chunk = 0  # bytes still to come of a BDAT chunk
        self._challenged = False  # the client's next line goes on with AUTH
        self._credentials: tuple[str, ...] = ()  # fields of the AUTH lines to come

    def _opaque(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        if direction == _SERVER:
            return position
        if self._chunk:
            step = min(self._chunk, len(data) - position)
            self._chunk -= step
            return position + step
        if not self._body.open:
            return position
        after, ended = self._body.skip(data, position)
        if ended:
            self._unanswered += 1
            if self._wanted:
                add(fields, "smtp.eom", True)
        return after

    def _client_line(self, line: bytes, fields: Fields) -> None:
        text = without_terminator(line)
        self._unanswered += 1
        if self._wanted:
            add(fields, "smtp.req", True)
        if self._challenged:
            self._challenged = False
            self._await(b"AUTH")
            if self._credentials:
                self._add_credential(text, fields)
            return
        if self._wanted:
            add(fields, "smtp.command_line", line.decode("latin-1"))
            add(fields, "smtp.req.command", text[:4].decode("latin-1"))
            if len(text) > 5:
                add(fields, "smtp.req.parameter", text[5:].decode("latin-1"))
        words = text.split(maxsplit=2)
        verb = words[0].upper() if words else b""
        if verb == b"DATA":
            self._await(verb)
            self._body.begin()
        elif verb == b"BDAT":
            size = words[1] if len(words) > 1 else b""
            self._chunk = int(size) if size.isdigit() and len(size) <= _MAX_CHUNK_DIGITS else 0
        elif verb == b"STARTTLS":
            self._await(verb)
            self._tls_was_requested()
        elif verb == b"AUTH":
            self._await(verb)
            self._credentials = _AUTH_FIELDS.get(words[1].upper(), ()) if len(words) > 1 else ()
            if self._credentials and len(words) > 2:
                self._add_credential(words[2], fields)

    def _server_line(self, line: bytes, fields: Fields) -> None:
        text = without_terminator(line)
        digits = text[:3]
        if self._wanted:
            add(fields, "smtp.rsp", True)
        if len(digits) < 3 or not digits.isdigit():
            return
        code = int(digits)
        if self._wanted:
            add(fields, "smtp.response", line.decode("latin-1"))
            add(fields, "smtp.response.code", code)
            if len(text) > 3:
                add(fields, "smtp.rsp.parameter", text[4:].decode("latin-1"))
        if text[3:4] != b"-":
            self._reply(code)

    def _await(self, verb: bytes) -> None:
        self._awaited = verb
        self._awaited_in = self._unanswered

    def _add_credential(self, text: bytes, fields: Fields) -> None:
        if self._wanted:
            add(fields, self._credentials[0], text.decode("latin-1"))
        self._credentials = self._credentials[1:]

    def _reply(self, code: int) -> None:
        """A reply is complete: see which command it answers."""
        if not self._greeted:
            self._greeted = True
            if code in _GREETINGS:
                return
        if self._unanswered:
            self._unanswered -= 1
        if not self._awaited:
            return
        self._awaited_in -= 1
        if self._awaited_in > 0:
            return
        if self._awaited == b"DATA" and code != _START_MAIL_INPUT:
            self._body.close()
        elif self._awaited == b"STARTTLS":
            self._tls_was_answered(accepted=code == _READY)
        elif self._awaited == b"AUTH":
            self._challenged = code == _AUTH_CHALLENGE
        self._awaited = b""
