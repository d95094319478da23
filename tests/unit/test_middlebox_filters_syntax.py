"""The syntax tree is data."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from middlebox.filters.parser import parse
from middlebox.filters.syntax import Word


def test_trees_of_the_same_text_are_equal() -> None:
    """Nodes compare by what they hold, so trees can be keys and test data."""
    text = 'tcp.port in {80, 90..95} and not tcp.payload[0:2] == "ab"'
    assert parse(text) == parse(text)
    assert hash(parse(text)) == hash(parse(text))


def test_nodes_cannot_be_changed() -> None:
    """Rules are frozen."""
    with pytest.raises(FrozenInstanceError):
        Word("tcp", 0).text = "udp"  # type: ignore[misc]
