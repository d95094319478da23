"""Arithmetic for looks: Python's own numbers, and nothing else of Python."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from middlebox.expression import NAMES, parse_expression

VALUES = {name: number for number, name in enumerate(sorted(NAMES), 3)}


@pytest.mark.parametrize(
    ("text", "values", "number"),
    [
        ("(-1 - 13 * window) & 0xffff", {"window": 1980}, 39795),  # WC10
        ("(62753 - 79 * window) & 0xffff", {"window": 1980}, 37405),  # WC10
        ("48 + window % 64", {"window": 5042}, 98),  # WC10
        ("trigger_ttl - index", {"trigger_ttl": 60, "index": 2}, 58),
        ("~0 ^ (1 << 4 | 2) >> 1", {}, ~0 ^ (1 << 4 | 2) >> 1),
        ("-7 // 2", {}, -4),
        ("+draw", {"draw": 9}, 9),
    ],
)
def test_expression_computes_as_python_does(text: str, values: dict[str, int], number: int) -> None:
    """The formulas of the catalogue, and every operator."""
    assert parse_expression(text).evaluate(values) == number


def test_expression_knows_the_names_it_uses() -> None:
    """So that a counter is only moved on for those who ask."""
    assert parse_expression("window + ttl * 2").names == {"window", "ttl"}


@pytest.mark.parametrize(
    "text",
    [
        "", "window +", "x", "1.5", "'a'", "True", "1 if 1 else 2", "window.real", "__import__('os')", "(1, 2)", "[1]",
        "window < 3", "window and 1", "lambda: 1", "f'{window}'", "2 ** 9", "1 / 2", "window := 3", "1; 2", "1\n2",
    ],
)  # fmt: skip
def test_expression_anything_else_is_refused(text: str) -> None:
    """Comparisons, calls, attributes, powers that could run for ever: none of it."""
    with pytest.raises(ValueError, match=r"^expected "):
        parse_expression(text)


@pytest.mark.parametrize("text", ["\0", "\ud800", "1" + "+1" * 50_000, "-" * 50_000 + "1"])
def test_expression_that_python_cannot_even_read_is_refused(text: str) -> None:
    """Characters that no source has, more operators than Python's own reader takes: one short message."""
    with pytest.raises(ValueError, match=r"^expected arithmetic such as .{,300}$"):
        parse_expression(text)


@pytest.mark.parametrize("text", ["1 // 0", "window % 0", "1 >> (0 - 1)"])
def test_expression_that_cannot_be_computed_is_zero(text: str) -> None:
    """A look never stops a box."""
    assert parse_expression(text).evaluate(VALUES) == 0


@pytest.mark.parametrize("text", ["1 << draw", "1 << (1 << 40)", "window << 65"])
def test_expression_that_would_eat_the_memory_is_refused(text: str) -> None:
    """Only a short shift to the left is a number that a header field could need."""
    with pytest.raises(ValueError, match="<< by a number up to 64"):
        parse_expression(text)


def test_expressions_are_equal_by_their_text() -> None:
    """Frozen data can be compared."""
    assert parse_expression("1 + 1") == parse_expression("1 + 1") != parse_expression("2")


@given(st.text(max_size=40))
def test_expression_any_text_is_parsed_or_refused(text: str) -> None:
    """Whatever stands in a file comes to a whole number, or the only exception is ValueError, which says why not."""
    try:
        expression = parse_expression(text)
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
        assert isinstance(expression.evaluate(VALUES), int)
    assert refused == "" or refused.startswith("expected ")
