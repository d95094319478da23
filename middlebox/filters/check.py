"""Syntax tree -> typed tree: names are looked up, constants get the type of what they are compared with.

What Wireshark 4.0 refuses is refused here, so that a filter that loads can be tried in Wireshark. Two things it
accepts are refused too, because they are mistakes far more often than meant: text without quotes, and an upper
bound below the lower one.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import FilterError, nearest
from .fields import INSTEAD, Field, Type
from .literals import constant, in_range, shown
from .patterns import compile_pattern
from .syntax import (
    And,
    Arithmetic,
    Call,
    Char,
    Compare,
    Contains,
    Exists,
    Matches,
    Member,
    Minus,
    Not,
    Or,
    Quoted,
    Slice,
    Test,
    Value,
    Word,
)
from .typed import (
    AndTest,
    ArithmeticValue,
    Between,
    CallValue,
    CompareTest,
    Const,
    ContainsTest,
    ExistsTest,
    FieldValue,
    MatchesTest,
    MemberTest,
    NotTest,
    OrTest,
    SliceValue,
    TypedTest,
    TypedValue,
    fields_of,
)

_FUNCTIONS = ("upper", "lower", "len")
_SLICEABLE = (Type.BYTES, Type.TEXT, Type.IPV4, Type.IPV6)
_ORDERED_ONLY_BY_EQUALITY = (Type.CHOICE,)
_LEN_MAXIMUM = 0xFFFFFFFF


class Checker:
    """Checks one filter against the fields there are."""

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self._fields = fields

    def test(self, node: Test) -> TypedTest:
        match node:
            case Not(test):
                return NotTest(self.test(test))
            case And(tests):
                return AndTest(tuple(self.test(test) for test in tests))
            case Or(tests):
                return OrTest(tuple(self.test(test) for test in tests))
            case Exists(value, offset):
                return self._exists(value, offset)
            case Compare():
                return self._compare(node)
            case Contains(value, needle, every):
                left = self._haystack(value, "contains")
                return ContainsTest(left, self._needle(needle, left), every)
            case Matches(value, pattern, every):
                left = self._haystack(value, "matches")
                compiled = compile_pattern(pattern.value, pattern.offset, text=left.type is Type.TEXT)
                return MatchesTest(left, compiled, every)
            case Member():
                return self._member(node)

    # Tests

    def _exists(self, value: Value, offset: int) -> TypedTest:
        typed = self._left(value, "on its own")
        if isinstance(typed, CallValue):
            raise FilterError(
                f"expected a comparison after {typed.function}(), got nothing; write len(x) > 0", offset
            )
        return ExistsTest(typed)

    def _compare(self, node: Compare) -> CompareTest:
        left = self._left(node.left, f"on the left of {node.operator}")
        if isinstance(left, FieldValue) and left.field.header:
            raise FilterError(
                f"expected a slice of {left.field.name}, got all of it; write {left.field.name}[0:4]",
                node.offset,
            )
        if left.type in _ORDERED_ONLY_BY_EQUALITY and node.operator not in ("==", "!="):
            raise FilterError(f"expected == or != for {_name(left)}, got {node.operator}", node.offset)
        right = self._operand(node.right, left)
        if isinstance(right, Between | Const):
            return CompareTest(node.operator, left, right, node.every)
        if right.type is not left.type or right.type is Type.CHOICE:
            raise FilterError(
                f"expected {left.type.value} for {_name(left)}, got {_name(right)}, which is {right.type.value}",
                node.right.offset,
            )
        return CompareTest(node.operator, left, right, node.every)

    def _needle(self, node: Value, left: TypedValue) -> TypedValue | Const:
        needle = self._operand(node, left)
        assert not isinstance(needle, Between)  # only addresses have prefixes
        if needle.type is not left.type:
            raise FilterError(f"expected {left.type.value} after contains, got {_name(needle)}", node.offset)
        return needle

    def _haystack(self, node: Value, operator: str) -> TypedValue:
        left = self._left(node, f"on the left of {operator}")
        if left.type not in (Type.TEXT, Type.BYTES):
            raise FilterError(
                f"expected text or bytes on the left of {operator}, got {_name(left)}, which is {left.type.value}",
                node.offset,
            )
        return left

    def _member(self, node: Member) -> MemberTest:
        left = self._left(node.value, "on the left of in")
        if not isinstance(left, FieldValue):
            raise FilterError(
                "expected a field on the left of in; compare with == instead", node.value.offset
            )
        elements = tuple(self._element(low, high, left) for low, high in node.elements)
        return MemberTest(left, elements, node.every)

    def _element(self, low: Value, high: Value | None, left: FieldValue) -> Const | Between:
        first = self._operand(low, left)
        if not isinstance(first, Const | Between):
            raise FilterError("expected a constant in the set, got a field; write == for it", low.offset)
        if high is None:
            return first
        last = self._operand(high, left)
        if not isinstance(first, Const) or not isinstance(last, Const):
            raise FilterError("expected two single values around .., got a field or prefix", low.offset)
        if left.type in (Type.BOOL, Type.CHOICE):
            raise FilterError(f"expected single values for {left.field.name}, got a range", low.offset)
        if first.value > last.value:  # type: ignore[operator]
            raise FilterError(
                "expected a range from low to high, got one that is empty; swap its ends", low.offset
            )
        return Between(left.type, first.value, last.value)

    # Values

    def _left(self, node: Value, where: str) -> TypedValue:
        typed = self._typed(node)
        if typed is None:
            if isinstance(node, Word):
                raise self._unknown(node)
            raise FilterError(f"expected a field {where}, got a constant; put the field first", node.offset)
        return typed

    def _unknown(self, node: Word) -> FilterError:
        if node.text in INSTEAD:
            return FilterError(f"expected a field, got {node.text!r}; {INSTEAD[node.text]}", node.offset)
        if not node.text[0].isalpha():
            return FilterError(f"expected a field, got {node.text!r}; put the field first", node.offset)
        hint = nearest(node.text, self._fields) or "see docs/filters.md for the fields there are"
        return FilterError(f"expected a field, got {node.text!r}; {hint}", node.offset)

    def _typed(self, node: Value) -> TypedValue | None:
        """The value with its type, None for a constant, whose type depends on what it meets."""
        match node:
            case Word(text):
                field = self._fields.get(text)
                return FieldValue(field) if field else None
            case Quoted() | Char():
                return None
            case Minus(of):
                inner = self._typed(of)
                if inner is None:
                    return None
                self._require_number(inner, "-", of.offset)
                return ArithmeticValue("-", Const(inner.type, 0), inner, inner.type)
            case Slice(of, ranges, offset):
                inner = self._left(of, "before [ ]")
                if inner.type not in _SLICEABLE:
                    got = f"{_name(inner)}, which is {inner.type.value}"
                    raise FilterError(f"expected text, bytes or an address before [ ], got {got}", offset)
                return SliceValue(inner, ranges)
            case Call():
                return self._call(node)
            case Arithmetic():
                return self._arithmetic(node)

    def _call(self, node: Call) -> CallValue:
        if node.function not in _FUNCTIONS:
            hint = nearest(node.function, _FUNCTIONS) or f"the functions are {', '.join(_FUNCTIONS)}"
            raise FilterError(f"expected a function, got {node.function!r}; {hint}", node.offset)
        argument = self._left(node.argument, f"in {node.function}()")
        if not isinstance(argument, FieldValue):
            raise FilterError(
                f"expected a field in {node.function}(), got an expression", node.argument.offset
            )
        allowed = (Type.TEXT, Type.BYTES) if node.function == "len" else (Type.TEXT,)
        if argument.type not in allowed:
            wanted = "text or bytes" if node.function == "len" else "text"
            raise FilterError(
                f"expected {wanted} in {node.function}(), got {_name(argument)}, which is {argument.type.value}",
                node.argument.offset,
            )
        return CallValue(node.function, argument, Type.NUMBER if node.function == "len" else Type.TEXT)

    def _arithmetic(self, node: Arithmetic) -> ArithmeticValue | None:
        left, right = self._typed(node.left), self._typed(node.right)
        known = left or right
        if known is None:
            return None
        self._require_number(known, node.operator, node.offset)
        first = left or self._constant(node.left, known)
        second = right or self._constant(node.right, known)
        if first.type is not second.type:
            raise FilterError(f"expected two of a kind around {node.operator}", node.offset)
        if node.operator in "/%" and isinstance(second, Const) and not second.value:
            raise FilterError(f"expected anything but 0 after {node.operator}", node.right.offset)
        assert not isinstance(first, Between) and not isinstance(second, Between)  # not for addresses
        return ArithmeticValue(node.operator, first, second, known.type)

    def _require_number(self, value: TypedValue, operator: str, offset: int) -> None:
        allowed = (Type.NUMBER, Type.BYTES) if operator == "&" else (Type.NUMBER, Type.REAL)
        if value.type not in allowed:
            raise FilterError(
                f"expected a number for {operator}, got {_name(value)}, which is {value.type.value}", offset
            )

    def _operand(self, node: Value, left: TypedValue) -> TypedValue | Const | Between:
        return self._typed(node) or self._constant(node, left)

    def _constant(self, node: Value, like: TypedValue) -> Const | Between:
        """A constant, folded, of the type of `like`; numbers must fit the widest field in `like`."""
        if isinstance(node, Minus | Arithmetic):
            if like.type not in (Type.NUMBER, Type.REAL):
                raise FilterError(
                    f"expected {like.type.value} for {_name(like)}, got arithmetic", node.offset
                )
            value = self._fold(node, like)
            if like.type is Type.REAL:
                return Const(Type.REAL, float(value))
            return in_range(int(value), _limits(like), node.offset, _name(like))
        if not isinstance(node, Word | Quoted | Char):
            raise FilterError("expected a field or a constant", node.offset)
        if isinstance(node, Word) and node.text in INSTEAD:
            raise self._unknown(node)
        words = like.field.choices if isinstance(like, FieldValue) else {}
        return constant(node, like.type, _name(like), _limits(like), words, self._fields)

    def _fold(self, node: Value, like: TypedValue) -> int | float:
        match node:
            case Minus(of):
                return -self._fold(of, like)
            case Arithmetic(operator, left, right, offset):
                return _apply(operator, self._fold(left, like), self._fold(right, like), offset)
            case Word() | Char():
                value = constant(node, like.type, _name(like), (0, _LEN_MAXIMUM), {}, self._fields)
                assert isinstance(value, Const) and isinstance(value.value, int | float)
                return value.value
        got = shown(node) if isinstance(node, Quoted) else "an expression"
        raise FilterError(f"expected a number, got {got}", node.offset)


def _apply(operator: str, left: int | float, right: int | float, offset: int) -> int | float:
    if operator in "/%" and not right:
        raise FilterError(f"expected anything but 0 after {operator}", offset)
    if operator == "&":
        return int(left) & int(right)
    if operator == "/":
        return left // right if isinstance(left, int) and isinstance(right, int) else left / right
    if operator == "%":
        return left % right
    return {"+": left + right, "-": left - right, "*": left * right}[operator]


def _limits(value: TypedValue) -> tuple[int, int]:
    """The numbers a constant may be beside `value`. Differences may be negative."""
    if isinstance(value, FieldValue):
        return 0, value.field.maximum
    if isinstance(value, ArithmeticValue):
        widest = max((field.maximum for field in fields_of(value)), default=_LEN_MAXIMUM)
        return -widest, widest
    return 0, _LEN_MAXIMUM


def _name(value: TypedValue | Const) -> str:
    match value:
        case FieldValue(field):
            return field.name
        case SliceValue(of):
            return f"{_name(of)}[ ]"
        case CallValue(function, of):
            return f"{function}({_name(of)})"
        case Const(_, constant_value):
            return repr(constant_value)
    return "arithmetic"
