"""Reassembly of one direction: order, holes, overlaps, wrap-around."""

from __future__ import annotations

from dataclasses import replace

import pytest

from middlebox.profile import Overlap, Reassembly, TcpReading
from middlebox.stream import REUSE_DISTANCE, Piece, Stream

FULL = TcpReading(reassembly=Reassembly.FULL)


def stream_at(seq: int) -> Stream:
    stream = Stream()
    stream.start(seq)
    return stream


def read_all(stream: Stream, segments: list[tuple[int, bytes]], reading: TcpReading = FULL) -> bytes:
    return b"".join(piece.data for seq, data in segments for piece in stream.accept(seq, data, reading))


def test_stream_in_order_segments_are_handed_on_as_they_are() -> None:
    """Each segment that continues the stream comes out at once."""
    stream = stream_at(100)
    assert stream.accept(100, b"ab", FULL) == (Piece(b"ab", True),)
    assert stream.accept(102, b"cd", FULL) == (Piece(b"cd", True),)
    assert stream.next_seq == 104


def test_stream_early_segment_waits_until_the_hole_is_filled() -> None:
    """A segment beyond a hole comes out together with the one that fills it."""
    stream = stream_at(0)
    assert stream.accept(3, b"def", FULL) == ()
    assert stream.accept(0, b"abc", FULL) == (Piece(b"abcdef", True),)


def test_stream_sequence_numbers_wrap_around() -> None:
    """The stream goes on past 2**32."""
    stream = stream_at(0xFFFFFFFE)
    assert read_all(stream, [(2, b"efgh"), (0xFFFFFFFE, b"abcd")]) == b"abcdefgh"
    assert stream.next_seq == 6


def test_stream_retransmission_is_not_read_twice() -> None:
    """Bytes that were read already are cut off, whatever they say the second time."""
    stream = stream_at(0)
    assert read_all(stream, [(0, b"abc"), (0, b"XYZ"), (1, b"bcd")]) == b"abcd"


@pytest.mark.parametrize(("overlap", "expected"), [(Overlap.FIRST, b"aBCDe"), (Overlap.LAST, b"axyze")])
def test_stream_overlap_policy_decides_which_copy_counts(overlap: Overlap, expected: bytes) -> None:
    """Of two early copies of the same bytes the first or the last is read."""
    reading = replace(FULL, overlap=overlap)
    assert read_all(stream_at(0), [(1, b"BCD"), (1, b"xyz"), (4, b"e"), (0, b"a")], reading) == expected


def test_stream_overlap_last_splits_the_older_segment() -> None:
    """A later, shorter copy replaces the middle of an early segment and leaves its ends."""
    reading = replace(FULL, overlap=Overlap.LAST)
    assert read_all(stream_at(0), [(1, b"bcdef"), (3, b"X"), (0, b"a")], reading) == b"abcXef"


def test_stream_without_reassembly_hands_on_each_segment_alone() -> None:
    """A box that does not join segments gets each by itself, in whatever order."""
    stream = stream_at(0)
    reading = replace(FULL, reassembly=Reassembly.NONE)
    assert stream.accept(3, b"def", reading) == (Piece(b"def", False),)
    assert stream.accept(0, b"abc", reading) == (Piece(b"abc", False),)


def test_stream_in_order_reading_starts_anew_after_a_hole() -> None:
    """A box that joins only what arrives in order takes an early segment by itself and never looks back."""
    stream = stream_at(0)
    reading = replace(FULL, reassembly=Reassembly.IN_ORDER)
    assert stream.accept(3, b"def", reading) == (Piece(b"def", False),)
    assert stream.accept(0, b"abc", reading) == ()
    assert stream.accept(6, b"ghi", reading) == (Piece(b"ghi", True),)


def test_stream_full_buffer_gives_up_the_hole() -> None:
    """When more early bytes wait than the buffer holds, reading goes on behind the hole, not joined."""
    reading = replace(FULL, buffer_bytes=4)
    stream = stream_at(0)
    assert stream.accept(10, b"abc", reading) == ()
    assert stream.accept(13, b"def", reading) == (Piece(b"abcdef", False),)
    assert stream.next_seq == 16


def test_stream_first_segment_seen_in_the_middle_starts_the_stream() -> None:
    """A box that picks up in the middle reads from the first segment that it sees."""
    stream = Stream()
    assert stream.accept(500, b"ab", FULL) == (Piece(b"ab", True),)
    assert stream.next_seq == 502


@pytest.mark.parametrize(
    ("seq", "elsewhere"), [(REUSE_DISTANCE, False), (REUSE_DISTANCE + 1, True), (-5, False)]
)
def test_stream_far_sequence_number_is_another_connection(seq: int, *, elsewhere: bool) -> None:
    """Only a number further away than any window belongs to another connection on the same ports."""
    assert stream_at(0).is_elsewhere(seq % 2**32) is elsewhere
