"""The syntax tree of a filter: what was written, before names and types are looked at.

Every node knows its offset in the text, for messages. Values stand for bytes or numbers, tests for true or false.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Word:
    """Anything written without quotes: a field name, a number, an address, bytes. The checker decides which."""

    text: str
    offset: int


@dataclass(frozen=True, slots=True)
class Quoted:
    """A string in double quotes, escapes already resolved, as the bytes it stands for."""

    value: bytes
    offset: int


@dataclass(frozen=True, slots=True)
class Char:
    """A character constant such as 'a': a number among numbers, one byte among bytes."""

    value: int
    offset: int


@dataclass(frozen=True, slots=True)
class Range:
    """One part of a slice. `length` None reads to the end; offsets below 0 count from the end."""

    start: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Slice:
    of: Value
    ranges: tuple[Range, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    function: str
    argument: Value
    offset: int


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """`operator` is one of + - * / % &."""

    operator: str
    left: Value
    right: Value
    offset: int


@dataclass(frozen=True, slots=True)
class Minus:
    of: Value
    offset: int


Value = Word | Quoted | Char | Slice | Call | Arithmetic | Minus


@dataclass(frozen=True, slots=True)
class Exists:
    """A value standing alone: the field is there, or the arithmetic gives something other than zero."""

    value: Value
    offset: int


@dataclass(frozen=True, slots=True)
class Compare:
    """`operator` is one of == != < > <= >=; `every` asks it of every pair of values, not of any."""

    operator: str
    left: Value
    right: Value
    every: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Contains:
    value: Value
    needle: Value
    every: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Matches:
    value: Value
    pattern: Quoted
    every: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Member:
    """`value in {low..high, single}`; a single element has no high end."""

    value: Value
    elements: tuple[tuple[Value, Value | None], ...]
    every: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Not:
    test: Test


@dataclass(frozen=True, slots=True)
class And:
    tests: tuple[Test, ...]


@dataclass(frozen=True, slots=True)
class Or:
    tests: tuple[Test, ...]


Test = Exists | Compare | Contains | Matches | Member | Not | And | Or
