"""PPTP: control messages by their cookie, on any port."""

from __future__ import annotations

import pytest

from middlebox.dissect.pptp import PptpDissector
from tests.unit.dissect_talk import DEAD, C, S, feed


def message(kind: int, size: int = 156) -> bytes:
    return (size.to_bytes(2, "big") + b"\x00\x01\x1a\x2b\x3c\x4d" + kind.to_bytes(2, "big")).ljust(
        size, b"\x00"
    )


def test_messages_over_segments_appear_when_complete() -> None:
    """Two messages over three segments: the first comes with the second segment, the second with the third."""
    dissector = PptpDissector(None)
    stream = message(1) + message(7, 168)
    assert not feed(dissector, C, stream[:1], stream[1:100])
    assert feed(dissector, C, stream[100:200])["pptp.control_message_type"] == [1]
    fields = feed(dissector, C, stream[200:])
    assert fields["pptp.control_message_type"] == [7]
    assert fields["pptp.length"] == [168]
    assert fields["pptp.magic_cookie"] == [0x1A2B3C4D]


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01",
        b"\x00\x09\x00\x01",
        b"\x01\x00\x00\x01",
        b"\x00\x9c\x01\x01",
        b"\x00\x9c\x00\x01\x1a\x2b\x3d",
        b"GET / ",
    ],
)
def test_other_first_bytes_refute_pptp(data: bytes) -> None:
    """Length, type and cookie are looked at as they come."""
    dissector = PptpDissector(None)
    assert not feed(dissector, C, *(data[at : at + 1] for at in range(len(data))))
    assert dissector.alive == DEAD


def test_later_junk_ends_its_own_direction() -> None:
    """What follows a good message and is none is not read; the other end still is."""
    dissector = PptpDissector(None)
    feed(dissector, C, message(1), b"junk")
    assert dissector.alive == (frozenset(), {"pptp"})
    assert feed(dissector, S, message(2))["pptp.control_message_type"] == [2]


def test_lost_bytes_end_the_half_read_message() -> None:
    """After a gap the next segment is read as the start of a message."""
    dissector = PptpDissector(frozenset({"pptp.control_message_type"}))
    feed(dissector, C, message(1)[:50])
    dissector.restart(C)
    assert feed(dissector, C, message(5, 16)) == {"pptp.control_message_type": [5]}
