"""The reader goes on after a problem, and what it hands back can be used."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from middlebox.reader import Reader
from middlebox.yamlsource import Node, ProfileError


def opened(text: str) -> tuple[Reader, Node]:
    reader, root = Reader.open("f", text.encode(), ProfileError)
    assert isinstance(root.value, dict)
    return reader, root.value["a"]


@pytest.mark.parametrize(
    ("read", "wrong", "instead"),
    [
        (lambda r, n: r.whole(n, 3, 9), "a: 10", 3),
        (lambda r, n: r.whole(n, 3, 9), "a: true", 3),
        (lambda r, n: r.share(n), "a: .nan", 0.0),
        (lambda r, n: r.flag(n), "a: 1", False),
        (lambda r, n: r.text(n, "text"), "a: 5", ""),
        (lambda r, n: r.word(n, ("x", "y")), "a: z", "x"),
        (lambda r, n: r.items(n, "things"), "a: 5", []),
        (lambda r, n: r.items(n, "things", at_least=1), "a: []", []),
        (lambda r, n: r.mapping(n, ("b",)), "a: []", {}),
        (lambda r, n: r.mapping(n, ("b",)), "a: {}", {}),
        (lambda r, n: r.duration_ns(n, at_least=1), "a: 0s", 1),
        (lambda r, n: r.duration_ns(n), "a: 1001h", 0),
        (lambda r, n: r.size_bytes(n, 1, 100), "a: 1kB", 1),
    ],
)
def test_reader_notes_a_problem_and_hands_back_what_fits(
    read: Callable[[Reader, Node], object], wrong: str, instead: object
) -> None:
    """Exactly one problem, at the value, and a value of the right kind, so that loading can go on."""
    reader, node = opened(wrong)
    assert read(reader, node) == instead
    [problem] = reader.problems
    assert (problem.line, problem.column) == (1, 4)
    with pytest.raises(ProfileError):
        reader.finish()


def test_reader_problems_come_in_the_order_of_the_file() -> None:
    """However the loader walks, the user reads from top to bottom, and nothing twice."""
    reader, root = Reader.open("f", b"a: 1\nb: 2\n", ProfileError)
    assert isinstance(root.value, dict)
    for key in ("b", "a", "b"):
        reader.flag(root.value[key])
    with pytest.raises(ProfileError) as error:
        reader.finish()
    assert str(error.value) == (
        "f:1:4: expected true or false, got 1; write one of these\n"
        "f:2:4: expected true or false, got 2; write one of these"
    )


def test_reader_says_where_a_misplaced_key_belongs() -> None:
    """A key that exists elsewhere is answered with its place, not with a similar name."""
    reader, node = opened("a: {for: 3s}")
    reader.mapping(node, (), ("form", "do"), elsewhere={"for": "below residual:"})
    [problem] = reader.problems
    assert problem.text == "expected one of the keys form or do, got 'for'; it belongs below residual:"
