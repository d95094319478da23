"""Where an error is, and what was probably meant."""

from __future__ import annotations

import pytest

from middlebox.filters import FilterError, compile_filter
from middlebox.filters.errors import nearest


def position(text: str, **where: int | str) -> str:
    with pytest.raises(FilterError) as caught:
        compile_filter(text, **where)  # type: ignore[arg-type]
    return str(caught.value).partition(": ")[0]


def test_error_position_counts_from_where_the_filter_begins() -> None:
    """file:line:column points into the profile, not into the filter."""
    assert position("tcp.port == 70000", file="box.yaml", line=12, column=11) == "box.yaml:12:23"


def test_error_position_in_a_later_line_counts_from_its_start() -> None:
    """A filter over several lines is still found."""
    assert position("tcp.port == 1 and\n  foo.bar", file="box.yaml", line=12, column=11) == "box.yaml:13:3"


def test_error_position_without_a_file_is_line_and_column() -> None:
    """A filter from the command line has no file."""
    assert position("tcp.port == x") == "1:13"


def test_nearest_name_is_offered_only_when_it_is_near() -> None:
    """A wrong hint is worse than none."""
    assert nearest("smtp.req.comand", ["smtp.req.command", "tcp.port"]) == "did you mean smtp.req.command?"
    assert nearest("TCP.PORT", ["smtp.req.command", "tcp.port"]) == "did you mean tcp.port?"
    assert nearest("quic", ["smtp.req.command", "tcp.port"]) == ""
