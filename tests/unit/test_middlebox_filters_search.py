"""The fast search gives the answers of the slow one."""

from __future__ import annotations

from hypothesis import given, strategies as st

from middlebox.filters.search import LARGE_BYTES, contains


@given(
    data=st.text("ab", max_size=40).map(lambda text: text.encode() * (LARGE_BYTES // 20)),
    needle=st.text("ab", max_size=6).map(str.encode),
    cut=st.tuples(st.integers(0, 50), st.integers(0, 50)),
)
def test_contains_agrees_with_find_in_large_data(data: bytes, needle: bytes, cut: tuple[int, int]) -> None:
    """For any needle and any part of the data, memmem and bytes.find agree."""
    start, end = min(cut[0], len(data)), max(len(data) - cut[1], 0)
    assert contains(data, needle, start, end) is (data.find(needle, start, end) >= 0)


def test_contains_does_not_see_headers_or_trailers() -> None:
    """What stands before `start` or after `end` does not count."""
    data = b"needle" + bytes(2 * LARGE_BYTES) + b"needle"
    assert not contains(data, b"needle", 6, len(data) - 6)
    assert not contains(data, b"needle", 1, len(data) - 1)
    assert contains(data, b"needle", 1, len(data))


def test_contains_a_byte_of_zero_does_not_end_the_data() -> None:
    """Payload is bytes, not a C string."""
    data = bytes(2 * LARGE_BYTES) + b"ultrasurf"
    assert contains(data, b"\0ultrasurf", 0, len(data))
