"""Sequence numbers: a circle of 2**32."""

from __future__ import annotations

from hypothesis import given, strategies as st

from middlebox.seqnum import HALF, add, before, distance

NUMBER = st.integers(0, 2**32 - 1)


@given(origin=NUMBER, offset=st.integers(-HALF, HALF - 1))
def test_distance_undoes_add(origin: int, offset: int) -> None:
    """How far one has gone is how far it is, across the wrap too."""
    moved = add(origin, offset)
    assert 0 <= moved < 2**32
    assert distance(origin, moved) == offset
    assert before(moved, origin) is (offset < 0)


def test_wrap_is_one_step() -> None:
    """Zero comes right behind the largest number."""
    assert add(2**32 - 1, 1) == 0
    assert distance(2**32 - 1, 0) == 1
    assert before(2**32 - 1, 0)
    assert not before(7, 7)
