"""YAML with positions: every value knows its line and column, and what is wrong becomes a list of problems.

`parse_yaml` makes a tree of `Node`; `reader.Reader` then checks the tree. Shared by the loaders of profiles and of
scenarios. Messages have one form:

    path:line:column: expected <x>, got <y>; <next step>

Must never: build Python objects from YAML tags, or raise anything but a `SourceError` for whatever is in a file.

Sources: YAML 1.2.2 (so `yes` and `1:30` are text).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

MAX_FILE_BYTES = 1_000_000
"""A profile is a page or two; more is a mistake in the file name (chosen)."""

MAX_VALUES = 50_000
"""Aliases may repeat a value; a file that unfolds to more than this is an attack on the reader (chosen)."""

MAX_DEPTH = 50
"""Of lists and mappings in each other (chosen)."""

_TOO_DEEP = f"expected at most {MAX_DEPTH} levels, got more; write it flatter"


class Problem(NamedTuple):
    """One thing that is wrong. line and column count from 1; line 0 means the file as a whole."""

    path: str
    line: int
    column: int
    text: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        return f"{place}: {self.text}" if place else self.text


class SourceError(Exception):
    """A file of the user's is wrong. `problems` has them all, in the order of the file."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ProfileError(SourceError):
    """A profile or deployment is wrong: each problem says file:line:column, what was expected, what was found."""


class ScenarioError(SourceError):
    """A scenario is wrong: each problem says file:line:column, what was expected, what was found."""


Scalar = str | int | float | bool | None


@dataclass(slots=True)
class Node:
    """A value in a YAML file.

    value: a mapping by key text, a list, or a scalar
    path: where it is, `rules.0.do.1.reset`; empty for the whole file
    keys: of a mapping, where each key stands, as (line, column)
    source: the key of the source that covers it, None when there is none (profiles only, see `load`)
    """

    value: dict[str, Node] | list[Node] | Scalar
    line: int
    column: int
    path: str
    scalar: ScalarNode | None = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    source: str | None = None

    @property
    def raw(self) -> str:
        """The text of a scalar as written (`0x10`), without quotes."""
        return str(self.scalar.value) if self.scalar is not None else ""

    def place(self, text: str, offset: int) -> tuple[int, int]:
        """(line, column) of character `offset` of a scalar, given the whole text of the file."""
        return (self.line, self.column) if self.scalar is None else _place(self.scalar, text, offset)


def nearest(word: str, choices: Iterable[str]) -> str:
    """`did you mean <x>?`, or an empty text when nothing is near."""
    words = list(choices)
    near = [choice for choice in words if len(word) > 2 and word in choice]
    near += get_close_matches(word, words, n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def either(choices: Iterable[str]) -> str:
    """`a, b or c`, `nothing` where there is no choice."""
    *most, last = [*choices] or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


def shown(node: Node) -> str:
    """A value as error messages show it."""
    if isinstance(node.value, dict):
        return "a mapping" if node.value else "an empty mapping"
    if isinstance(node.value, list):
        return "a list" if node.value else "an empty list"
    if node.value is None:
        return "nothing"
    if isinstance(node.value, bool):
        return node.raw
    written = node.raw if not isinstance(node.value, str) else repr(node.value)
    return written if len(written) <= 80 else f"{written[:77]}..."


# --- from text to nodes ---------------------------------------------------------------------------------------------


def decode_utf8(path: str, data: bytes, error: type[SourceError]) -> str:
    """The file's text. `error` is raised for other encodings, with the place of the first bad byte."""
    if len(data) > MAX_FILE_BYTES:
        text = f"expected a file of at most {MAX_FILE_BYTES} bytes, got {len(data)}; is it the right file?"
        raise error([Problem(path, 0, 0, text)])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as bad:
        before = data[: bad.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        text = f"expected UTF-8 text, got byte 0x{data[bad.start]:02x}; save the file as UTF-8"
        raise error([Problem(path, line, column, text)]) from None


class _ShallowComposer(Composer):
    """Stops at MAX_DEPTH, long before a file of nothing but brackets has used up the stack or the afternoon."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ComposerError(None, None, _TOO_DEEP, self.parser.peek_event().start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def parse_yaml(path: str, text: str, error: type[SourceError]) -> Node:
    """The whole file as one Node. `error` is raised with one Problem when it is not well-formed YAML."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _ShallowComposer
    try:
        with warnings.catch_warnings():
            # YAML allows an anchor to be set again: the later one counts from there on.
            warnings.simplefilter("ignore", ReusedAnchorWarning)
            root = yaml.compose(io.StringIO(text))
        if root is None:
            raise error([Problem(path, 1, 1, "expected a mapping, got an empty file; see docs/profiles.md")])
        return _Builder(path, error).build(root, "", 0)
    except MarkedYAMLError as bad:
        mark = bad.problem_mark or bad.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        raise error([Problem(path, line, column, _syntax_message(bad, text, line, column))]) from None
    except ReaderError as bad:
        before = text[: bad.position]
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        message = f"expected printable text, got the character {text[bad.position]!r}; remove it"
        raise error([Problem(path, line, column, message)]) from None
    except (YAMLError, ValueError) as bad:
        raise error(
            [Problem(path, 1, 1, f"expected well-formed YAML, got: {bad}; see docs/profiles.md")]
        ) from None


def _syntax_message(bad: MarkedYAMLError, text: str, line: int, column: int) -> str:
    """What YAML's own parser found, in the words of this lab."""
    problem = str(bad.problem or "")
    if problem == _TOO_DEEP:
        return problem
    lines = text.split("\n")
    found = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    if "'\\t'" in problem or found.startswith("\t"):
        return "expected spaces, got a tab; indent with spaces"
    if "mapping values are not allowed" in problem:
        return (
            "expected no second ': ' in this value, got one; put the value in quotes, or below a line with >"
        )
    if "end of stream" in problem and "quoted" in str(bad.context):
        return "expected a closing quote, got the end of the file; close it"
    if "undefined alias" in problem:
        return f"expected an anchor defined above, got {found.split()[0]!r}; quote text that starts with *"
    if "single document" in str(bad.context) or "another document" in problem:
        return "expected one document, got a second one; remove the line ---"
    if "block end" in problem or "block mapping" in str(bad.context):
        return f"expected the next key or the end of the mapping, got {found[:20]!r}; look at indentation and quotes"
    if problem.startswith("expected") and ", but got " in problem:
        expected, _, got = problem.partition(", but got ")
        return f"{expected}, got {got}; close the bracket"
    return f"expected well-formed YAML, got {problem}; look at quotes and indentation"


class _Builder:
    """Turns ruamel's nodes into ours. Stops at the first problem: a file with twice the same key has no meaning."""

    def __init__(self, path: str, error: type[SourceError]) -> None:
        self.path = path
        self.error = error
        self.values = 0

    def build(self, raw: object, path: str, depth: int) -> Node:
        assert isinstance(raw, ScalarNode | MappingNode | SequenceNode)
        line, column = raw.start_mark.line + 1, raw.start_mark.column + 1
        self.values += 1
        if self.values > MAX_VALUES:
            self.stop(line, column, f"expected at most {MAX_VALUES} values, got more; use fewer aliases")
        if depth > MAX_DEPTH:
            self.stop(line, column, _TOO_DEEP)
        if isinstance(raw, ScalarNode):
            return Node(self.scalar(raw), line, column, path, scalar=raw)
        prefix = f"{path}." if path else ""
        if isinstance(raw, SequenceNode):
            return Node(
                [self.build(n, f"{prefix}{i}", depth + 1) for i, n in enumerate(raw.value)],
                line,
                column,
                path,
            )
        node = Node({}, line, column, path)
        assert isinstance(node.value, dict)
        for raw_key, raw_value in raw.value:
            key_line, key_column = raw_key.start_mark.line + 1, raw_key.start_mark.column + 1
            if not isinstance(raw_key, ScalarNode):
                self.stop(
                    key_line, key_column, "expected a word as key, got a list or mapping; name the value"
                )
            key = str(raw_key.value)
            if key in node.keys:
                first = node.keys[key][0]
                self.stop(
                    key_line,
                    key_column,
                    f"expected each key once, got {key!r} again; it is on line {first} already",
                )
            node.keys[key] = (key_line, key_column)
            node.value[key] = self.build(raw_value, f"{prefix}{key}", depth + 1)
        return node

    def scalar(self, raw: ScalarNode) -> Scalar:
        tag = str(raw.tag).rpartition(":")[2]
        text = str(raw.value)
        if tag == "int":
            try:
                return int(text.replace("_", ""), 0) if not text.lstrip("+-").isdigit() else int(text)
            except ValueError:  # more digits than Python converts, or a form that only YAML 1.1 knows
                return text
        if tag == "float":
            try:
                return float(text.replace("_", ""))
            except ValueError:
                return text
        if tag == "bool":
            return text.lower() == "true"
        if tag == "null":
            return None
        if tag in ("str", "timestamp", "merge", "value"):
            return text
        line, column = raw.start_mark.line + 1, raw.start_mark.column + 1
        self.stop(line, column, f"expected a plain value, got the tag {str(raw.tag)!r}; remove the tag")
        return None

    def stop(self, line: int, column: int, message: str) -> None:
        raise self.error([Problem(self.path, line, column, message)])


def _place(scalar: ScalarNode, text: str, offset: int) -> tuple[int, int]:
    """Walk the scalar's value and its source side by side until character `offset` of the value."""
    at = scalar.start_mark.index
    if scalar.style in ("|", ">"):
        at = text.find("\n", at) + 1
    elif scalar.style in ("'", '"'):
        at += 1
    end = scalar.end_mark.index
    for i, char in enumerate(str(scalar.value)):
        if not char.isspace() or at < end and text[at] == "\\":
            while at < end and text[at].isspace():
                at += 1
        if i >= offset:
            break
        at += _source_width(text, at, scalar.style)
    at = min(at, len(text))
    return text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1


def _source_width(text: str, at: int, style: str | None) -> int:
    """How many characters of source one character of the value takes."""
    if style == "'" and text.startswith("''", at):
        return 2
    if style == '"' and text.startswith("\\", at):
        return {"x": 4, "u": 6, "U": 10}.get(text[at + 1 : at + 2], 2)
    return 1
