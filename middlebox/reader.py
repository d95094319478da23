"""From nodes to values: a `Reader` checks a YAML tree piece by piece and collects every problem on the way.

Counterpart of `yamlsource`, which makes the tree. What is expected here becomes the text of an error message, so it is
written as a user would say it. Units: see `units`.

Must never: stop at the first problem.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Self, TypeVar

from middlebox.units import DURATION_UNITS, MAX_DURATION_NS, SIZE_UNITS, parse_quantity, unit_hint
from middlebox.yamlsource import Node, Problem, SourceError, decode_utf8, either, nearest, parse_yaml, shown

T = TypeVar("T")
D = TypeVar("D")


class Reader:
    """Checks nodes and collects problems. Every method returns something usable even where it found a problem:
    the loader goes on to find the next one, and `finish` raises them all."""

    def __init__(self, path: str, text: str, error: type[SourceError]) -> None:
        self.path = path
        self.text_of_file = text
        self.error = error
        self.problems: list[Problem] = []

    @classmethod
    def open(cls, path: str, data: bytes, error: type[SourceError]) -> tuple[Self, Node]:
        """The reader and the root node of a file; raises `error` when it is not YAML at all."""
        text = decode_utf8(path, data, error)
        return cls(path, text, error), parse_yaml(path, text, error)

    def finish(self) -> None:
        if self.problems:
            raise self.error(self.problems)

    def add(self, line: int, column: int, text: str) -> None:
        self.problems.append(Problem(self.path, line, column, text))

    def problem(self, node: Node, expected: str, then: str, *, got: str | None = None) -> None:
        """Note that `expected` was not met at this node."""
        found = shown(node) if got is None else got
        self.add(node.line, node.column, f"expected {expected}, got {found}; {then}")

    def key_problem(self, node: Node, key: str, expected: str, then: str) -> None:
        """Note that a key of this mapping is not what was expected."""
        self.add(*node.keys[key], f"expected {expected}, got {key!r}; {then}")

    def mapping(
        self,
        node: Node,
        required: Iterable[str] = (),
        optional: Iterable[str] = (),
        *,
        elsewhere: Mapping[str, str] = {},
    ) -> dict[str, Node]:
        """The known keys of a mapping. elsewhere: keys that people write here though they belong in another place."""
        required, known = list(required), [*required, *optional]
        if not isinstance(node.value, dict):
            self.problem(node, f"a mapping with the keys {either(known)}", f"write {{{known[0]}: ...}}")
            return {}
        for key in node.value:
            if key in known:
                continue
            hint = f"it belongs {elsewhere[key]}" if key in elsewhere else nearest(key, known)
            self.key_problem(node, key, f"one of the keys {either(known)}", hint or "remove it")
        for key in required:
            if key not in node.value:
                got = either(node.value).replace(" or ", " and ") if node.value else "an empty mapping"
                self.problem(
                    node, f"the key {key!r}", f"add {key}: ...", got=f"only {got}" if node.value else got
                )
        return {key: value for key, value in node.value.items() if key in known}

    def items(self, node: Node, what: str, *, at_least: int = 0) -> list[Node]:
        """The elements of a list. what: `rules`, for the message."""
        if not isinstance(node.value, list):
            self.problem(node, f"a list of {what}", "write - before each, or [a, b]")
            return []
        if len(node.value) < at_least:
            self.problem(node, f"at least {at_least} of {what}", "add one")
        return node.value

    def one_or_more(self, node: Node, what: str) -> list[Node]:
        """The elements of a list that is not empty, or a single value as if it were one."""
        return self.items(node, what, at_least=1) if isinstance(node.value, list) else [node]

    def text(self, node: Node, what: str) -> str:
        if not isinstance(node.value, str) or not node.value.strip():
            is_empty = node.value is None or isinstance(node.value, str)
            then = "write some text" if is_empty else "write text, in quotes if it looks like a number"
            self.problem(node, what, then)
            return ""
        return node.value

    def word(self, node: Node, choices: Iterable[str], *, what: str = "") -> str:
        """One of the choices; the first of them where it is none. what: names long lists of choices in the message."""
        words = list(choices)
        if isinstance(node.value, str) and node.value in words:
            return node.value
        hint = nearest(node.value, words) if isinstance(node.value, str) else ""
        all_of_them = f"there are {', '.join(words)}" if what else "write one of these"
        self.problem(node, what or either(words), hint or all_of_them)
        return words[0]

    def flag(self, node: Node) -> bool:
        if isinstance(node.value, bool):
            return node.value
        self.problem(node, "true or false", "write one of these")
        return False

    def whole(self, node: Node, low: int, high: int, *, what: str = "a whole number") -> int:
        is_number = isinstance(node.value, int) and not isinstance(node.value, bool)
        if isinstance(node.value, int) and is_number and low <= node.value <= high:
            return node.value
        self.problem(
            node, f"{what} from {low} to {high}", "change the number" if is_number else "write a number"
        )
        return low

    def share(
        self, node: Node, *, what: str = "a probability", then: str = "88.2 % is written 0.882"
    ) -> float:
        """A number from 0 to 1."""
        number = node.value
        if isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1:
            return float(number)
        self.problem(node, f"{what} from 0 to 1", then)
        return 0.0

    def duration_ns(self, node: Node, *, at_least: int = 0) -> int:
        """`180s`, `1.5s`, `20ms`, `300us`, `5min`, `1h`, `0` -> nanoseconds."""
        found = parse_quantity(node.raw, DURATION_UNITS)
        if found is None:
            self.problem(
                node, "a duration such as 180s, 1.5s, 20ms, 300us, 5min or 1h", "write a number and its unit"
            )
            return at_least
        if not at_least <= found <= MAX_DURATION_NS:
            low = "0s" if at_least == 0 else "more than 0s"
            self.problem(node, f"a duration from {low} to 1000h", "change the number")
            return at_least
        return found

    def size_bytes(self, node: Node, low: int, high: int) -> int:
        """`64kB`, `64KiB`, `1500` -> bytes."""
        found = parse_quantity(node.raw, SIZE_UNITS)
        if found is None or not low <= found <= high:
            then = "change the number" if found is not None else unit_hint(node.raw, SIZE_UNITS)
            self.problem(node, f"a size from {low} to {high} bytes, such as 64kB or 64KiB", then)
            return low
        return found


def optional(fields: Mapping[str, Node], key: str, read: Callable[[Node], T], default: D) -> T | D:
    """What `read` makes of that key, `default` where the file does not have it."""
    return read(fields[key]) if key in fields else default
