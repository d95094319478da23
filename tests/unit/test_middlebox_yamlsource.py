"""Positions in YAML: an error inside a value points at the very character, however the value is quoted."""

from __future__ import annotations

import pytest

from middlebox.yamlsource import Node, ProfileError, nearest, parse_yaml

STYLES = {
    "plain": "when: tcp.dstport == 465 and X",
    "single quotes": "when: 'it''s and X'",
    "double quotes": 'when: "\\"a\\" \\x41 \\u0042 \\t and X"',
    "plain over lines": "when: tcp\n   and\n     X",
    "folded": "when: >\n    tcp\n    and X\n",
    "folded, stripped": "when: >-\n    tcp\n\n    and X\n",
    "literal": "when: |\n    tcp  # not a comment\n      and X\n",
    "double quotes over lines": 'when: "tcp\n   and \\\n   or X"',
    "in a flow": "{a: [1, 2], when: 'a and X'}",
}


def value(text: str, key: str) -> Node:
    root = parse_yaml("f", text, ProfileError)
    assert isinstance(root.value, dict)
    return root.value[key]


@pytest.mark.parametrize("style", STYLES)
def test_place_of_character_is_where_it_stands_in_the_file(style: str) -> None:
    """The place of the X in the value is the place of the X in the file."""
    text = STYLES[style]
    node = value(text, "when")
    assert isinstance(node.value, str)
    before = text[: text.index("X")]
    expected = (before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)
    assert node.place(text, node.value.index("X")) == expected


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("5", 5), ("0x10", 16), ("0o17", 15), ("-3", -3), ("1_000", 1000), ("1.5", 1.5), ("true", True),
        ("yes", "yes"), ("no", "no"), ("1:30", "1:30"), ("01:02", "01:02"), ("~", None), ("", None), ("'5'", "5"),
        ("5s", "5s"), ("2012-01-05", "2012-01-05"),
    ],
)  # fmt: skip
def test_scalars_are_read_as_yaml_1_2(written: str, read: object) -> None:
    """Numbers are numbers, and what YAML 1.1 would have made of `yes` or `1:30` is text."""
    assert value(f"a: {written}\n", "a").value == read


def test_nodes_know_path_line_and_column() -> None:
    """Each value can say where it is, in the tree and in the file."""
    root = parse_yaml("f", "rules:\n  - name: a\n    do: [log, {drop: flow}]\n", ProfileError)
    node = root
    for key in ("rules", 0, "do", 1, "drop"):
        node = node.value[key]  # type: ignore[index, assignment]
    assert (node.path, node.line, node.column) == ("rules.0.do.1.drop", 3, 22)


def test_nearest_prefers_a_choice_that_contains_the_word() -> None:
    """Who writes half a name means the whole one."""
    outcomes = ["refused", "connection-reset", "timeout"]
    assert nearest("reset", outcomes) == "did you mean connection-reset?"
    assert nearest("timeut", outcomes) == "did you mean timeout?"
    assert nearest("xyzzy", outcomes) == ""


def test_anchor_set_again_counts_from_there_on() -> None:
    """YAML allows it, so it is no error: each alias means the anchor before it."""
    root = parse_yaml("f", "[&a 1, *a, &a 2, *a]", ProfileError)
    assert isinstance(root.value, list)
    assert [node.value for node in root.value] == [1, 1, 2, 2]
