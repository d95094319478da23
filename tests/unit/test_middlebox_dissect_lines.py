"""Lines and dot-terminated bodies from bytes that are cut anywhere."""

from __future__ import annotations

import pytest

from middlebox.dissect.lines import MAX_LINE_BYTES, DotBody, LineBuffer, without_terminator


def lines_of(*chunks: bytes) -> list[bytes]:
    buffer = LineBuffer()
    lines = []
    for chunk in chunks:
        position = 0
        while position < len(chunk):
            line, position = buffer.take(chunk, position)
            if line is not None:
                lines.append(line)
    return lines


def test_line_over_three_chunks_is_one_line() -> None:
    """A line is whole however it was cut, even between CR and LF."""
    assert lines_of(b"STA", b"RTTLS\r", b"\nNOOP\r\n") == [b"STARTTLS\r\n", b"NOOP\r\n"]


def test_line_without_end_is_held_only_up_to_the_limit() -> None:
    """Ten times the limit without a line end keeps no more than the limit, and gives that much when the line ends."""
    buffer = LineBuffer()
    for _ in range(10):
        assert buffer.take(b"x" * MAX_LINE_BYTES, 0) == (None, MAX_LINE_BYTES)
        assert len(buffer.partial) == MAX_LINE_BYTES
    assert buffer.take(b"tail\r\nNOOP\r\n", 0) == (b"x" * MAX_LINE_BYTES, 6)
    assert buffer.take(b"tail\r\nNOOP\r\n", 6) == (b"NOOP\r\n", 12)


@pytest.mark.parametrize(
    ("line", "text"), [(b"a\r\n", b"a"), (b"a\n", b"a"), (b"a", b"a"), (b"\r\n", b""), (b"a\r", b"a\r")]
)
def test_terminator_is_lf_with_or_without_cr(line: bytes, text: bytes) -> None:
    """The text of a line is what stands before CR LF or a bare LF."""
    assert without_terminator(line) == text


@pytest.mark.parametrize("cut", range(1, 12))
def test_body_ends_at_a_lone_dot_wherever_it_is_cut(cut: int) -> None:
    """The dot that ends a body is found across any border, and what follows it is not part of the body."""
    stream = b"x\r\n.y\r\n.\r\nNOOP"
    body = DotBody()
    body.begin()
    after, ended = body.skip(stream[:cut], 0)
    if ended:
        assert (cut >= 10, after) == (True, 10)
    else:
        after, ended = body.skip(stream[cut:], 0)
        assert (ended, cut + after) == (True, 10)
    assert not body.open


def test_body_may_be_empty() -> None:
    """A dot right behind the command's line ends the body at once."""
    body = DotBody()
    body.begin()
    assert body.skip(b".\r\nQUIT\r\n", 0) == (3, True)
