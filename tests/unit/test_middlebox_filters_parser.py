"""Tokens to trees: what binds how, and what is said where it does not fit."""

from __future__ import annotations

import pytest

from middlebox.filters import FilterError
from middlebox.filters.parser import parse
from middlebox.filters.syntax import And, Arithmetic, Compare, Exists, Member, Not, Or, Range, Slice, Word


def test_and_binds_stronger_than_or() -> None:
    """`a or b and c` is `a or (b and c)`."""
    tree = parse("ip or tcp and udp")
    assert isinstance(tree, Or)
    assert isinstance(tree.tests[1], And)


def test_not_takes_the_whole_comparison() -> None:
    """`not a == b` is `not (a == b)`."""
    tree = parse("not tcp.port == 80 and ip")
    assert isinstance(tree, And)
    assert isinstance(tree.tests[0], Not)


def test_arithmetic_binds_stronger_than_comparison() -> None:
    """`tcp.flags & 2 == 2` compares the masked flags, unlike in C."""
    tree = parse("tcp.flags & 2 == 2")
    assert isinstance(tree, Compare)
    assert isinstance(tree.left, Arithmetic)


def test_braces_group_arithmetic() -> None:
    """{ } groups values, ( ) groups tests."""
    tree = parse("{tcp.port + 1} * 2 == 4")
    assert isinstance(tree, Compare)
    assert isinstance(tree.left, Arithmetic)
    assert tree.left.operator == "*"


def test_chain_of_comparisons_is_each_of_them() -> None:
    """`a < b < c` is `a < b and b < c`."""
    tree = parse("tcp.srcport < tcp.dstport < 90")
    assert isinstance(tree, And)
    assert [type(test) for test in tree.tests] == [Compare, Compare]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("[0:4]", [Range(0, 4)]),
        ("[0-3]", [Range(0, 4)]),
        ("[2]", [Range(2, 1)]),
        ("[:4]", [Range(0, 4)]),
        ("[4:]", [Range(4, None)]),
        ("[-4:]", [Range(-4, None)]),
        ("[-4:2]", [Range(-4, 2)]),
        ("[-4--2]", [Range(-4, 3)]),
        ("[1,3-5, 9:]", [Range(1, 1), Range(3, 3), Range(9, None)]),
        ("[0x10:0x2]", [Range(16, 2)]),
    ],
)
def test_slice_forms_say_start_and_length(written: str, expected: list[Range]) -> None:
    """All the forms of wireshark-filter(4)."""
    tree = parse(f"frame{written}")
    assert isinstance(tree, Exists)
    assert isinstance(tree.value, Slice)
    assert list(tree.value.ranges) == expected


def test_words_know_where_they_stand() -> None:
    """Offsets are for messages; they count characters from 0."""
    tree = parse("ip and   tcp")
    assert isinstance(tree, And)
    assert [test.value for test in tree.tests if isinstance(test, Exists)] == [Word("ip", 0), Word("tcp", 9)]


@pytest.mark.parametrize(
    ("written", "every"),
    [
        ("a == 1", False),
        ("a != 1", True),
        ("a === 1", True),
        ("a !== 1", False),
        ("any a != 1", False),
        ("all a == 1", True),
    ],
)
def test_quantifiers_say_whether_every_value_must_agree(written: str, every: bool) -> None:
    """== asks for any value, != for all; any and all say otherwise."""
    tree = parse(written)
    assert isinstance(tree, Compare)
    assert tree.every is every


def test_not_in_ignores_a_quantifier_as_wireshark_does() -> None:
    """`x not in {..}` is always: none of the values is in the set."""
    tree = parse("all tcp.port not in {80}")
    assert isinstance(tree, Not)
    assert isinstance(tree.test, Member)
    assert not tree.test.every


@pytest.mark.parametrize(
    ("written", "offset", "message"),
    [
        ("", 0, "expected a filter such as"),
        ("   ", 0, "expected a filter such as"),
        ("tcp.port ==", 11, "expected a field or a value, got the end of the filter"),
        ("tcp and", 7, "expected a field or a value"),
        ("and tcp", 0, "expected a field or a value, got 'and'"),
        ("(tcp", 4, "expected )"),
        ("tcp udp", 4, "expected and, or, or the end of the filter"),
        ("(tcp.flags & 2) == 2", 16, "group arithmetic with { }"),
        ("tcp.port == (80)", 12, "group arithmetic with { }"),
        ("tcp.port in 80", 12, "a set is written {80, 443, 8000..8100}"),
        ("tcp.port in {80 443}", 16, "separated by commas"),
        ("tcp.port in {}", 13, "expected a field or a value"),
        ("all tcp", 7, "expected a comparison after all"),
        ("tcp.payload matches abc", 20, "a pattern in double quotes"),
        ("tcp.payload[3:0]", 12, "length of at least 1"),
        ("tcp.payload[5-3]", 12, "end lies behind its start"),
        ("tcp.payload[x]", 12, "expected a slice such as"),
        ("tcp.payload[]", 12, "expected a slice such as"),
        ("(" * 60 + "tcp" + ")" * 60, 51, "at most 50 levels"),
    ],
)
def test_parser_refuses_with_place_and_advice(written: str, offset: int, message: str) -> None:
    """The first token that does not fit is named, with what could stand there."""
    with pytest.raises(FilterError) as caught:
        parse(written)
    assert caught.value.offset == offset
    assert message in caught.value.message
