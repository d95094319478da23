"""HTTP messages: where they may begin, their lines, and how long their bodies are."""

from __future__ import annotations

import pytest

from middlebox.dissect.http_message import (
    Framing,
    full_uri,
    is_hex,
    lines_of,
    may_start,
    request_line,
    status_line,
    unfolded,
)
from middlebox.flow import Direction
from tests.unit.dissect_talk import C, S


@pytest.mark.parametrize(
    ("direction", "data", "may"),
    [
        (C, b"G", True), (C, b"GET", True), (C, b"GET ", True), (C, b"GETX", False), (C, b"GEX ", False),
        (C, b"VERSION-CONTROL /", True), (C, b"HTTP/1.1 200", False), (C, b" GET", False),
        (S, b"HT", True), (S, b"HTTP/1.1 200 OK", True), (S, b"GET /", False), (S, b"HTTQ", False),
    ],
)  # fmt: skip
def test_message_begins_with_its_word(direction: Direction, data: bytes, may: bool) -> None:
    """As far as the first word is there it has to be a method, or HTTP/ from a server."""
    assert may_start(direction, data, 0) is may


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b"GET /a?b=c HTTP/1.1\r\n", (b"GET", b"/a?b=c", b"HTTP/1.1")),
        (b"GET  /a b  HTTP/1.0\n", (b"GET", b"/a b", b"HTTP/1.0")),
        (b"GET /\r\n", (b"GET", b"/", b"")),
        (b"GET\r\n", (b"GET", b"", b"")),
    ],
)
def test_request_line_has_three_parts(line: bytes, parts: tuple[bytes, bytes, bytes]) -> None:
    """The target is all between method and version, also with spaces in it; HTTP/0.9 has no version."""
    assert request_line(line) == parts


def test_status_line_has_a_code() -> None:
    """The phrase may be missing; a line without three digits is none."""
    assert status_line(b"HTTP/1.1 404 Not Found\r\n") == (b"HTTP/1.1", 404, b"Not Found")
    assert status_line(b"HTTP/1.1 204\r\n") == (b"HTTP/1.1", 204, b"")
    assert status_line(b"HTTP/1.1 OK\r\n") is None


def test_lines_end_as_the_box_reads_them() -> None:
    """With crlf_only a bare LF is part of its line."""
    header = b"GET / HTTP/1.1\r\nA: 1\nB: 2\r\n\r\n"
    assert lines_of(header, crlf_only=False) == [b"GET / HTTP/1.1\r\n", b"A: 1\n", b"B: 2\r\n"]
    assert lines_of(header, crlf_only=True) == [b"GET / HTTP/1.1\r\n", b"A: 1\nB: 2\r\n"]
    assert unfolded([b"A: 1\r\n", b" 2\r\n", b"B: 3\r\n"]) == [b"A: 1\r\n 2\r\n", b"B: 3\r\n"]


def test_framing_knows_length_and_chunks() -> None:
    """The last transfer coding decides; a length that is no number, or too long to be one, is none."""
    framing = Framing()
    for name, value in (
        (b"content-length", b"12"),
        (b"transfer-encoding", b"gzip, Chunked"),
        (b"host", b"a"),
    ):
        framing.note(name, value)
    assert (framing.length, framing.chunked, framing.host) == (12, True, b"a")
    for value in (b"-1", b"1 2", b"9" * 17, b""):
        framing = Framing()
        framing.note(b"content-length", value)
        assert framing.length is None


def test_full_uri_is_what_a_browser_shows() -> None:
    """Host and path together, unless the target says it all."""
    assert full_uri(b"GET", b"/a", b"h") == b"http://h/a"
    assert full_uri(b"GET", b"http://x/a", b"h") == b"http://x/a"
    assert full_uri(b"GET", b"/?u=http://x/", b"h") == b"http://h/?u=http://x/"
    assert full_uri(b"CONNECT", b"x:443", b"x:443") == b"x:443"
    assert is_hex(b"0aF")
    assert not is_hex(b"0x1")
