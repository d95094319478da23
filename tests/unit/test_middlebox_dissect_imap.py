"""IMAP: tags, literals, and where TLS begins."""

from __future__ import annotations

import pytest

from middlebox.dissect import DEFAULT_PORTS, Dissector, dissector_for
from middlebox.flow import Direction
from tests.unit.dissect_talk import HELLO, C, S, talk


def imap() -> Dissector:
    dissector = dissector_for(143, frozenset({"imap", "tls"}), DEFAULT_PORTS)
    assert dissector is not None
    return dissector


def commands(*segments: tuple[Direction, bytes]) -> list[object]:
    seen = talk(imap(), *segments)
    return [line for fields in seen for line in fields.get("imap.request.command", [])]


def test_request_is_split_into_tag_and_command() -> None:
    """A request has its tag, its command and its whole line."""
    (fields,) = talk(imap(), (C, b"a1 STARTTLS\r\n"))
    assert fields == {
        "imap": [True],
        "imap.isrequest": [True],
        "imap.line": ["a1 STARTTLS\r\n"],
        "imap.request": ["a1 STARTTLS"],
        "imap.request_tag": ["a1"],
        "imap.tag": ["a1"],
        "imap.command": ["STARTTLS"],
        "imap.request.command": ["STARTTLS"],
    }


def test_tagged_answer_is_split_into_tag_status_and_command() -> None:
    """An answer has its tag and status; an untagged line is only a line."""
    (fields,) = talk(imap(), (S, b"* 3 EXISTS\r\na1 OK SELECT done\r\n"))
    assert fields["imap.line"] == ["* 3 EXISTS\r\n", "a1 OK SELECT done\r\n"]
    assert fields["imap.response_tag"] == ["a1"]
    assert fields["imap.response.status"] == ["OK"]
    assert fields["imap.response.command"] == ["SELECT"]


@pytest.mark.parametrize("plus", [b"", b"+"])
def test_command_in_a_literal_is_no_command(plus: bytes) -> None:
    """The bytes of a literal and the rest of its line are no commands, the next line is one."""
    line = b"a1 APPEND INBOX {13" + plus + b"}\r\n"
    assert commands((C, line), (S, b"+ go\r\n"), (C, b"a2 STARTTLS\r\n\r\na3 NOOP\r\n")) == ["APPEND", "NOOP"]


def test_refused_literal_does_not_swallow_the_next_command() -> None:
    """When the server says NO instead of +, the client's next bytes are a command."""
    assert commands((C, b"a1 APPEND X {100}\r\n"), (S, b"a1 NO such\r\n"), (C, b"a2 STARTTLS\r\n")) == [
        "APPEND",
        "STARTTLS",
    ]


def test_literal_of_the_server_is_not_read_as_an_answer() -> None:
    """A message that contains a tagged OK does not answer anything."""
    seen = talk(imap(), (S, b"* 1 FETCH (BODY[] {7}\r\na1 OK\r\n)\r\na2 OK\r\n"))
    assert seen[0]["imap.response"] == ["a2 OK"]


def test_braces_in_an_answers_text_announce_no_literal() -> None:
    """A status answer ends in free text, whatever it looks like."""
    seen = talk(imap(), (S, b"* OK hello {50}\r\n"), (S, b"a1 OK done {50}\r\n"), (S, b"a2 OK\r\n"))
    assert seen[2]["imap.response"] == ["a2 OK"]


def test_line_that_was_asked_for_is_no_command() -> None:
    """A line of AUTHENTICATE and the DONE of IDLE are no commands."""
    assert commands(
        (C, b"a1 AUTHENTICATE X\r\n"),
        (S, b"+ \r\n"),
        (C, b"a9 STARTTLS\r\n"),
        (S, b"a1 OK\r\n"),
        (C, b"a2 NOOP\r\n"),
    ) == ["AUTHENTICATE", "NOOP"]


def test_command_behind_uid_is_the_command() -> None:
    """UID FETCH is command FETCH, marked as UID."""
    (fields,) = talk(imap(), (C, b"a1 uid FETCH 1 BODY[]\r\n"))
    assert fields["imap.request.command"] == ["FETCH"]
    assert fields["imap.request.command.uid"] == [True]
    assert fields["imap.command"] == ["uid"]


def test_only_the_answer_to_starttls_starts_tls() -> None:
    """The OK of another tag is not the OK of STARTTLS: a refusal that follows it leaves the connection in clear."""
    dissector = imap()
    talk(dissector, (C, b"a1 NOOP\r\na2 STARTTLS\r\n"), (S, b"a1 OK\r\na2 BAD\r\n"))
    (fields,) = talk(dissector, (C, b"\x16 x\r\n"))
    assert fields["imap.request.command"] == ["x"]


def test_accepted_starttls_is_followed_by_tls() -> None:
    """After OK the client's next bytes are TLS, and IMAP can come no more there."""
    dissector = imap()
    seen = talk(dissector, (C, b"a1 starttls\r\n"), (S, b"a1 ok begin\r\n"), (C, HELLO))
    assert seen[2]["tls.handshake.type"] == [1]
    assert dissector.alive[C] == {"tls", "tls.handshake"}
