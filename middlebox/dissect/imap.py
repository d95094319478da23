"""IMAP (RFC 9051) with literals, IDLE and STARTTLS.

What stands in a literal is never a command, and neither is what follows it on the same logical line, a line of an
AUTHENTICATE exchange or the DONE of IDLE. A literal that waits for the server's consent (`{n}` without `+`) is dropped
when the server refuses the command instead, so both directions should be fed.

As in Wireshark, an untagged line (`*`) is only an `imap.line`, the third word of a tagged answer is its
`imap.response.command`, and a command behind UID is `imap.request.command` while `imap.command` says UID.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import Fields, FieldSpec, FieldType, add
from middlebox.dissect.lines import without_terminator
from middlebox.dissect.text import TextDissector
from middlebox.dissect.tls import TlsPlan
from middlebox.flow import Direction

_CLIENT, _SERVER = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT

# RFC 9051 section 4.3: the length is a number64, up to 19 digits.
_LITERAL = re.compile(rb"\{([0-9]{1,19})\+?\}$")
# Untagged answers that end in free text, where braces mean nothing (RFC 9051 section 7.1).
_STATUS_WORDS = frozenset({b"OK", b"NO", b"BAD", b"BYE", b"PREAUTH"})


class ImapDissector(TextDissector):
    """One IMAP connection."""

    __slots__ = ("_continues", "_expects_more", "_literal", "_literal_tag", "_starttls_tag")

    protocol: ClassVar[str] = "imap"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "imap": FieldSpec(FieldType.BOOL, None, "the packet carries IMAP in clear"),
        "imap.isrequest": FieldSpec(
            FieldType.BOOL, None, "true for lines of the client, false for the server's"
        ),
        "imap.line": FieldSpec(FieldType.STRING, None, "any line, CR LF included"),
        "imap.tag": FieldSpec(FieldType.STRING, None, "first word of a line that is not untagged"),
        "imap.command": FieldSpec(
            FieldType.STRING, None, "second word of a request, third word of a tagged answer"
        ),
        "imap.request": FieldSpec(FieldType.STRING, _CLIENT, "a line of the client without CR LF"),
        "imap.request_tag": FieldSpec(FieldType.STRING, _CLIENT, "first word of a request"),
        "imap.request.command": FieldSpec(
            FieldType.STRING, _CLIENT, "the command, as written: STARTTLS, login"
        ),
        "imap.request.command.uid": FieldSpec(FieldType.BOOL, _CLIENT, "the command stands behind UID"),
        "imap.response": FieldSpec(FieldType.STRING, _SERVER, "a tagged answer or a + line, without CR LF"),
        "imap.response_tag": FieldSpec(FieldType.STRING, _SERVER, "first word of it"),
        "imap.response.status": FieldSpec(FieldType.STRING, _SERVER, "second word of it: OK, NO, BAD"),
        "imap.response.command": FieldSpec(FieldType.STRING, _SERVER, "third word of it"),
    }

    def __init__(self, *, wanted: bool, tls: TlsPlan | None) -> None:
        super().__init__(wanted=wanted, tls=tls)
        self._literal = [0, 0]  # per direction: bytes still to come of a literal
        self._continues = [False, False]  # per direction: the next line is the rest of one that had a literal
        self._literal_tag = b""  # command whose literal the server may still refuse
        self._expects_more = False  # the server asked for more with a + line
        self._starttls_tag = b""

    def _opaque(self, direction: Direction, data: bytes, position: int, fields: Fields) -> int:
        left = self._literal[direction]
        if not left:
            return position
        step = min(left, len(data) - position)
        self._literal[direction] = left - step
        if direction == _CLIENT:
            self._literal_tag = b""
        if self._wanted:
            fields["imap.isrequest"] = [direction == _CLIENT]
        return position + step

    def _client_line(self, line: bytes, fields: Fields) -> None:
        text = without_terminator(line)
        words = [word for word in text.split(b" ") if word]
        is_command = not self._continues[_CLIENT] and not self._expects_more
        self._expects_more = False
        self._literal_tag = b""
        if self._wanted:
            fields["imap.isrequest"] = [True]
            add(fields, "imap.line", line.decode("latin-1"))
            if words and not self._continues[_CLIENT]:
                _add_request(text, words if is_command else words[:1], fields)
        if is_command and len(words) > 1 and words[1].upper() == b"STARTTLS":
            self._starttls_tag = words[0]
            self._tls_was_requested()
        if self._expect_literal(_CLIENT, text) and is_command and words and not text.endswith(b"+}"):
            self._literal_tag = words[0]

    def _server_line(self, line: bytes, fields: Fields) -> None:
        text = without_terminator(line)
        continues = self._continues[_SERVER]
        self._continues[_SERVER] = False
        words = [word for word in text.split(b" ") if word]
        untagged = text.startswith(b"*")
        if self._wanted:
            fields["imap.isrequest"] = [False]
            add(fields, "imap.line", line.decode("latin-1"))
            if words and not continues and not untagged:
                _add_response(text, words, fields)
        if continues or (untagged and not (len(words) > 1 and words[1].upper() in _STATUS_WORDS)):
            self._expect_literal(_SERVER, text)
        elif words and not untagged:
            self._tagged(words)

    def _tagged(self, words: list[bytes]) -> None:
        """What an answer to a command, or a + line, changes."""
        tag = words[0]
        if tag == b"+":
            self._expects_more = not self._literal[_CLIENT]
            return
        self._expects_more = False
        if tag == self._literal_tag:
            self._literal[_CLIENT] = 0
            self._continues[_CLIENT] = False
            self._literal_tag = b""
        if tag == self._starttls_tag:
            self._starttls_tag = b""
            self._tls_was_answered(accepted=len(words) > 1 and words[1].upper() == b"OK")

    def _expect_literal(self, direction: Direction, text: bytes) -> bool:
        """Whether this line ends with a literal's length: the literal and the rest of the line follow."""
        found = _LITERAL.search(text)
        self._continues[direction] = found is not None
        if found is None:
            return False
        self._literal[direction] = int(found[1])
        return True


def _add_request(text: bytes, words: list[bytes], fields: Fields) -> None:
    add(fields, "imap.request", text.decode("latin-1"))
    _add_words(fields, ("imap.request_tag", "imap.tag"), words[0])
    if len(words) < 2:
        return
    add(fields, "imap.command", words[1].decode("latin-1"))
    if words[1].upper() == b"UID":
        add(fields, "imap.request.command.uid", True)
        words = words[1:]
    if len(words) < 2:
        return
    add(fields, "imap.request.command", words[1].decode("latin-1"))


def _add_response(text: bytes, words: list[bytes], fields: Fields) -> None:
    add(fields, "imap.response", text.decode("latin-1"))
    _add_words(fields, ("imap.response_tag", "imap.tag"), words[0])
    if len(words) > 1:
        add(fields, "imap.response.status", words[1].decode("latin-1"))
    if len(words) > 2:
        _add_words(fields, ("imap.response.command", "imap.command"), words[2])


def _add_words(fields: Fields, names: tuple[str, ...], word: bytes) -> None:
    for name in names:
        add(fields, name, word.decode("latin-1"))
