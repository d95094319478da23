"""What generated code calls."""

from __future__ import annotations

import re

import pytest

from middlebox.filters import runtime
from middlebox.filters.syntax import Range
from tests.unit.filter_kit import tcp


def test_measures_of_plain_and_of_random_looking_bytes() -> None:
    """The numbers of the published rule for encrypted traffic."""
    assert runtime.mean_popcount(b"\x00\xff") == 4
    assert runtime.entropy(bytes(range(256))) == 8
    assert runtime.entropy(b"aaaa") == 0
    assert runtime.printable_share(b"ab\x00\x01") == 0.5
    assert runtime.printable_prefix(b"\x00ab") == 0
    assert runtime.printable_prefix(b"ab~ \x7f") == 4
    assert runtime.printable_run(b"\x00") == 0
    assert runtime.printable_run(b"a\x00bcd\x00e") == 3


@pytest.mark.parametrize(
    ("tail", "payload", "found"),
    [
        (b"...ult", b"rasurf...", True),
        (b"ultrasur", b"f", True),
        (b"u", b"ltrasurf", True),
        (b"ultrasurf", b"...", False),
        (b"...", b"ultrasurf", False),
        (b"ultra", b" surf", False),
        (b"ult", b"ra", False),
    ],
)
def test_text_over_a_border_is_found_once(tail: bytes, payload: bytes, found: bool) -> None:
    """Only what begins before this segment and ends in it: the rest was or will be found whole."""
    packet = tcp(payload, stream_tail=tail)
    assert runtime.spans_border(packet, b"ultrasurf") is found
    assert runtime.matches_over_border(packet, re.compile(b"ul.rasurf")) is found


def test_pattern_over_a_border_does_not_take_the_cut_for_the_beginning() -> None:
    """The tail was cut out of a stream: ^ means the beginning of a segment, not of the tail."""
    packet = tcp(b"T /", stream_tail=b"GE")
    assert not runtime.matches_over_border(packet, re.compile(b"^GET"))
    assert runtime.matches_over_border(packet, re.compile(b"GET"))


def test_pattern_over_a_border_does_not_take_the_window_for_the_end() -> None:
    """$ means the end of the segment, however long it is."""
    packet = tcp(b"b" * 5000, stream_tail=b"a")
    assert not runtime.matches_over_border(packet, re.compile(b"ab{510,511}$"))
    assert runtime.matches_over_border(packet, re.compile(b"ab+$"))
    assert runtime.matches_over_border(packet, re.compile(b"ab{510,511}"))


def test_one_byte_never_spans_a_border() -> None:
    """There is nothing to span."""
    assert not runtime.spans_border(tcp(b"a", stream_tail=b"a"), b"a")


@pytest.mark.parametrize(
    ("ranges", "expected"),
    [
        ((Range(0, 2),), b"ab"),
        ((Range(-2, None),), b"ef"),
        ((Range(-2, 1),), b"e"),
        ((Range(5, 1), Range(0, 1)), b"fa"),
        ((Range(6, 1),), b""),
        ((Range(4, 3),), b""),
        ((Range(-7, 1),), b""),
        ((Range(-1, 2),), b""),
        ((Range(0, 1), Range(9, 1), Range(1, 1)), b"a"),
    ],
)
def test_slice_past_the_end_adds_nothing(ranges: tuple[Range, ...], expected: bytes) -> None:
    """Nor do the ranges after it, as in Wireshark."""
    assert runtime.cut([b"abcdef"], ranges) == [expected]
    assert runtime.cut(["abcdef"], ranges) == [expected]


def test_case_functions_change_ascii_letters_only() -> None:
    """Bytes of an unknown encoding stay as they are."""
    assert runtime.upper("aé") == "Aé"
    assert runtime.lower("AÉ") == "aÉ"


def test_bitwise_and_of_bytes_is_as_long_as_the_shorter() -> None:
    """As Wireshark computes it."""
    assert runtime.bytes_and(b"\xff\xff", b"\x0f") == b"\x0f"
