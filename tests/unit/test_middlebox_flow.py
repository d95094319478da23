"""Two ways to say where a packet goes."""

from __future__ import annotations

import pytest

from middlebox.flow import Direction, Side


@pytest.mark.parametrize("member", [*Direction, *Side])
def test_opposite_is_the_other_one_and_back(member: Direction | Side) -> None:
    """Each has two values."""
    assert member.opposite is not member
    assert member.opposite.opposite is member
    assert type(member.opposite) is type(member)


def test_words_are_those_of_events_and_filters() -> None:
    """What stands in events.jsonl can be asked for in a rule."""
    assert [d.word for d in Direction] == ["client-to-server", "server-to-client"]
    assert [s.word for s in Side] == ["inside", "outside"]
