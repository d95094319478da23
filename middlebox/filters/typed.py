"""The tree of a filter after checking: every name is a field, every constant has the type it is compared with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .fields import Field, Type
from .syntax import Range

Constant = int | float | bool | str | bytes


@dataclass(frozen=True, slots=True)
class Const:
    type: Type
    value: Constant


@dataclass(frozen=True, slots=True)
class Between:
    """All values from low to high: a prefix, or a range in a set."""

    type: Type
    low: Constant
    high: Constant


@dataclass(frozen=True, slots=True)
class FieldValue:
    field: Field

    @property
    def type(self) -> Type:
        return self.field.type


@dataclass(frozen=True, slots=True)
class SliceValue:
    """Bytes of a byte, text or address value; empty when the range reaches past the end."""

    of: TypedValue
    ranges: tuple[Range, ...]
    type: Type = Type.BYTES


@dataclass(frozen=True, slots=True)
class CallValue:
    """`function` is upper, lower (of text) or len."""

    function: str
    of: FieldValue
    type: Type


@dataclass(frozen=True, slots=True)
class ArithmeticValue:
    operator: str
    left: TypedValue | Const
    right: TypedValue | Const
    type: Type


TypedValue = FieldValue | SliceValue | CallValue | ArithmeticValue


@dataclass(frozen=True, slots=True)
class ExistsTest:
    value: TypedValue


@dataclass(frozen=True, slots=True)
class CompareTest:
    operator: str
    left: TypedValue
    right: TypedValue | Const | Between
    every: bool


@dataclass(frozen=True, slots=True)
class ContainsTest:
    value: TypedValue
    needle: TypedValue | Const
    every: bool


@dataclass(frozen=True, slots=True)
class MatchesTest:
    value: TypedValue
    pattern: re.Pattern[str] | re.Pattern[bytes]
    every: bool


@dataclass(frozen=True, slots=True)
class MemberTest:
    value: FieldValue
    elements: tuple[Const | Between, ...]
    every: bool


Leaf = ExistsTest | CompareTest | ContainsTest | MatchesTest | MemberTest


@dataclass(frozen=True, slots=True)
class NotTest:
    test: TypedTest


@dataclass(frozen=True, slots=True)
class AndTest:
    tests: tuple[TypedTest, ...]


@dataclass(frozen=True, slots=True)
class OrTest:
    tests: tuple[TypedTest, ...]


TypedTest = Leaf | NotTest | AndTest | OrTest


def fields_of(node: TypedTest | TypedValue | Const | Between) -> tuple[Field, ...]:
    """Every field that a test or value reads, in the order written, with repetitions."""
    match node:
        case Const() | Between():
            return ()
        case FieldValue(field):
            return (field,)
        case SliceValue(of) | CallValue(_, of):
            return fields_of(of)
        case ArithmeticValue(_, left, right) | CompareTest(_, left, right):
            return fields_of(left) + fields_of(right)
        case ContainsTest(value, needle):
            return fields_of(value) + fields_of(needle)
        case ExistsTest(value) | MatchesTest(value) | MemberTest(value):
            return fields_of(value)
        case NotTest(test):
            return fields_of(test)
        case AndTest(tests) | OrTest(tests):
            return tuple(field for test in tests for field in fields_of(test))
