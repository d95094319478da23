"""Sequence numbers: a circle of 2**32."""

from __future__ import annotations

from hypothesis import given, strategies as st

from middlebox.seqnum import HALF, MODULUS, add, before, distance

NUMBER = st.integers(0, MODULUS - 1)


@given(origin=NUMBER, offset=st.integers(-HALF, HALF - 1))
def test_distance_undoes_add(origin: int, offset: int) -> None:
    """How far one has gone is how far it is, across the wrap too."""
    moved = add(origin, offset)
    assert 0 <= moved < MODULUS
    assert distance(origin, moved) == offset
    assert before(moved, origin) is (offset < 0)


def test_wrap_is_one_step() -> None:
    """Zero comes right behind the largest number."""
    assert add(MODULUS - 1, 1) == 0
    assert distance(MODULUS - 1, 0) == 1
    assert before(MODULUS - 1, 0)
    assert not before(7, 7)
