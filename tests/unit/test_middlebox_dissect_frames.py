"""Messages behind a two-byte length, from bytes that are cut anywhere."""

from __future__ import annotations

import pytest

from middlebox.dissect.frames import FrameBuffer


def frames_of(*parts: bytes) -> list[bytes]:
    buffer = FrameBuffer()
    found = []
    for part in parts:
        position = 0
        while position < len(part):
            message, position = buffer.take(part, position)
            if message is not None:
                found.append(message)
    return found


TWO = b"\x00\x03abc" + b"\x00\x00" + b"\x00\x02de"


@pytest.mark.parametrize("size", range(1, 13))
def test_frames_do_not_depend_on_the_cut(size: int) -> None:
    """The same messages come out of the same bytes, an empty one among them."""
    assert frames_of(*(TWO[at : at + size] for at in range(0, len(TWO), size))) == [b"abc", b"", b"de"]


def test_clear_forgets_the_unfinished_message() -> None:
    """After a gap the next bytes are read as a length."""
    buffer = FrameBuffer()
    assert buffer.take(b"\x00\x05ab", 0) == (None, 4)
    buffer.clear()
    assert buffer.take(b"\x00\x01x", 0) == (b"x", 3)
