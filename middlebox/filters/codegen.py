"""Typed tree -> source of one Python expression: the filter as the packet path runs it.

Conditions are tried in the order written and stop at the first that decides. Header fields are attribute reads or
bytes of `p.data`; constants stand in the code. A test that names a field is false when the field is not there, so
every test is guarded by the conditions for its fields, once for each chain of `and`.

Generated names: `p`, `flow`, `fields`, the helpers of runtime.py, `c0`, `c1`, ... for constants without a literal form.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import product

from .fields import Field, Origin, Type
from .syntax import Range
from .typed import (
    AndTest,
    ArithmeticValue,
    Between,
    CallValue,
    CompareTest,
    Const,
    Constant,
    ContainsTest,
    ExistsTest,
    FieldValue,
    Leaf,
    MatchesTest,
    MemberTest,
    NotTest,
    OrTest,
    SliceValue,
    TypedTest,
    TypedValue,
    fields_of,
)

NO_GUARDS: frozenset[str] = frozenset()

Form = Callable[[str], str]
PairForm = Callable[[str, str], str]

_COMPARES: dict[str, Callable[[Constant, Constant], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Code:
    """A value in Python: `items` are expressions for one value each, or `many` is one for an iterable of values."""

    guards: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    many: str = ""

    @property
    def iterable(self) -> str:
        return self.many or f"({', '.join(self.items)},)"


class Generator:
    """Writes expressions and collects the objects they name.

    `assume_present`: leave the guards out that may differ between packets of a flow; partial.py asks for that.
    """

    def __init__(self) -> None:
        self.constants: dict[str, object] = {}
        self.assume_present = False

    # Tests

    def test(self, node: TypedTest, known: frozenset[str] = NO_GUARDS) -> str:
        """A Python expression that is true when the test is; `known` guards are true already."""
        match node:
            case NotTest(test):
                return f"not {self.test(test, known)}"
            case AndTest(tests):
                parts: list[str] = []
                for test in tests:
                    parts.append(self.test(test, known))
                    known |= guards_implied(test)
                return f"({' and '.join(parts)})"
            case OrTest(tests):
                return f"({' or '.join(self.test(test, known) for test in tests)})"
        return self._leaf(node, known)

    def _leaf(self, node: Leaf, known: frozenset[str]) -> str:
        guards, condition = self._condition(node)
        same = {guard for field in fields_of(node) for guard in field.where.same}
        excluding_zero = _excludes_zero(node)
        if excluding_zero or self.assume_present:
            guards = tuple(guard for guard in guards if guard in same)
        needed = [guard for guard in dict.fromkeys(guards) if guard not in known]
        # A port decides more often than the protocol does.
        parts = [condition, *needed] if excluding_zero else [*needed, condition]
        return f"({' and '.join(filter(None, parts)) or 'True'})"

    def _condition(self, node: Leaf) -> tuple[tuple[str, ...], str]:
        """(guards, what must hold beyond them)."""
        match node:
            case ExistsTest(value):
                code = self._value(value)
                return code.guards, self._exists(value, code)
            case CompareTest(relation, left, Const(Type.BOOL, wanted), every):
                code = self._value(left)
                return code.guards, self._each(
                    code, every=every, form=partial(_compare_bool, relation, wanted=bool(wanted))
                )
            case CompareTest("==", left, Const(_, wanted), False) if self._value(left).many:
                code = self._value(left)
                return code.guards, f"{wanted!r} in {code.many}"
            case CompareTest(relation, left, (Const() | Between()) as right, every):
                code = self._value(left)
                return code.guards, self._each(code, every=every, form=partial(_compare, relation, right))
            case CompareTest(relation, left, right, every):
                assert not isinstance(right, Between)
                one, other = self._value(left), self._value(right)
                form = partial(_compare_values, relation, left.type)
                return one.guards + other.guards, self._pairs(one, other, every=every, form=form)
            case ContainsTest(value, Const(_, needle), every):
                return self._contains(value, needle, every=every)
            case ContainsTest(value, needle, every):
                assert not isinstance(needle, Const)
                one, other = self._value(value), self._value(needle)
                return one.guards + other.guards, self._pairs(
                    one, other, every=every, form=lambda x, y: f"{y} in {x}"
                )
            case MatchesTest(value, pattern, every):
                return self._matches(value, pattern, every=every)
            case MemberTest(value, elements, every):
                code = self._value(value)
                return code.guards, self._each(code, every=every, form=partial(_member, value.type, elements))

    def _exists(self, value: TypedValue, code: Code) -> str:
        if isinstance(value, FieldValue):
            return "" if code.guards or code.items else code.many
        # A slice that is empty is not there, nor is arithmetic that gives 0.
        bits = isinstance(value, ArithmeticValue) and value.type is Type.BYTES
        return self._each(code, every=False, form="any({})".format if bits else "{}".format)

    def _contains(self, value: TypedValue, needle: object, *, every: bool) -> tuple[tuple[str, ...], str]:
        if isinstance(value, FieldValue) and value.field.span:
            start, end = value.field.span
            found = f"contains(p.data, {needle!r}, {start}, {end})"
            if value.field.name == "tcp.payload":
                found = f"({found} or p.stream_tail and spans_border(p, {needle!r}))"
            return guards_of(value.field), found
        code = self._value(value)
        return code.guards, self._each(code, every=every, form=lambda x: f"{needle!r} in {x}")

    def _matches(
        self, value: TypedValue, pattern: re.Pattern[str] | re.Pattern[bytes], *, every: bool
    ) -> tuple[tuple[str, ...], str]:
        search = self._constant(pattern.search)
        code = self._value(value)
        if code.many:
            return code.guards, self._each(code, every=every, form=lambda x: f"{search}({x})")
        condition = self._each(code, every=every, form=lambda x: f"{search}({x}) is not None")
        if isinstance(value, FieldValue) and value.field.name == "tcp.payload":
            border = f"p.stream_tail and matches_over_border(p, {self._constant(pattern)})"
            condition = f"({condition} or {border})"
        return code.guards, condition

    # Values

    def _value(self, node: TypedValue | Const) -> Code:
        match node:
            case Const(_, value):
                return Code(items=(repr(value),))
            case FieldValue(field):
                if field.span:
                    start, end = field.span
                    return Code(guards_of(field), (f"p.data[{start} : {end}]",))
                return Code(guards_of(field), tuple(map(_parenthesised, field.items)), field.many)
            case SliceValue(of, ranges):
                return self._slice(of, ranges)
            case CallValue("len", FieldValue(Field(span=(start, end), header=header) as field)):
                start, end = header or (start, end)
                return Code(guards_of(field), (f"({_parenthesised(end)} - {_parenthesised(start)})",))
            case CallValue(function, of):
                code = self._value(of)
                many = f"[{function}(x) for x in {code.many}]" if code.many else ""
                return Code(code.guards, tuple(f"{function}({item})" for item in code.items), many)
            case ArithmeticValue():
                return self._arithmetic(node)

    def _slice(self, of: TypedValue, ranges: tuple[Range, ...]) -> Code:
        if len(ranges) == 1 and isinstance(of, FieldValue) and of.field.span:
            return Code(guards_of(of.field), (_part(ranges[0], *(of.field.header or of.field.span)),))
        code = self._value(of)
        if isinstance(of, FieldValue) and of.field.header:
            start, end = of.field.header
            code = Code(code.guards, (f"p.data[{start} : {end}]",))
        return Code(code.guards, many=f"cut({code.iterable}, {self._constant(ranges)})")

    def _arithmetic(self, node: ArithmeticValue) -> Code:
        left, right = self._value(node.left), self._value(node.right)
        sign = "//" if node.operator == "/" and node.type is Type.NUMBER else node.operator
        form = "bytes_and({}, {})" if node.type is Type.BYTES else f"({{}} {sign} {{}})"
        guards = left.guards + right.guards
        # Dividing by a field that is 0 gives no value.
        condition = " if y" if node.operator in "/%" and not isinstance(node.right, Const) else ""
        if not left.many and not right.many and not condition:
            return Code(guards, tuple(form.format(x, y) for x, y in product(left.items, right.items)))
        body = form.format("x", "y")
        return Code(guards, many=f"[{body} for x in {left.iterable} for y in {right.iterable}{condition}]")

    # Any value, or every value

    def _each(self, code: Code, *, every: bool, form: Form) -> str:
        if code.many:
            return f"{'all' if every else 'any'}([{form('x')} for x in {code.many}])" + _not_empty(
                code, every=every
            )
        return _joined([form(item) for item in code.items], every=every)

    def _pairs(self, left: Code, right: Code, *, every: bool, form: PairForm) -> str:
        if left.many or right.many:
            listed = f"[{form('x', 'y')} for x in {left.iterable} for y in {right.iterable}]"
            return (
                f"{'all' if every else 'any'}({listed})"
                + _not_empty(left, every=every)
                + _not_empty(right, every=every)
            )
        return _joined([form(x, y) for x, y in product(left.items, right.items)], every=every)

    def _constant(self, value: object) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return name


def guards_of(field: Field) -> tuple[str, ...]:
    """What must be true for a field to be there. What a dissector found is there, whatever the protocol."""
    return field.where.varying if field.origin is Origin.DISSECTED else field.where.same + field.where.varying


def guards_implied(node: TypedTest) -> frozenset[str]:
    """Guards that are true whenever the test is."""
    match node:
        case NotTest():
            return NO_GUARDS
        case AndTest(tests):
            return NO_GUARDS.union(*map(guards_implied, tests))
        case OrTest(tests):
            return frozenset.intersection(*map(guards_implied, tests))
    return frozenset(guard for field in fields_of(node) for guard in guards_of(field))


def holds(relation: str, left: Constant, right: Constant) -> bool:
    """`left relation right` for two constants of one type."""
    return _COMPARES[relation](left, right)


def _excludes_zero(node: Leaf) -> bool:
    """Whether this compares a field that reads as 0 when absent with constants, and 0 does not match."""
    match node:
        case CompareTest(relation, FieldValue(Field(zero_if_absent=True)), Const(_, value)):
            return not holds(relation, 0, value)
        case MemberTest(FieldValue(Field(zero_if_absent=True)), elements):
            return not any(_includes_zero(element) for element in elements)
    return False


def _includes_zero(element: Const | Between) -> bool:
    return not (element.value if isinstance(element, Const) else element.low)


def _compare(relation: str, right: Const | Between, x: str) -> str:
    if isinstance(right, Const):
        return (
            f"{_key(relation, right.type, x)} {relation} {_constant_key(relation, right.type, right.value)!r}"
        )
    low, high = right.low, right.high
    return {
        "==": f"{low!r} <= {x} <= {high!r}",
        "!=": f"not {low!r} <= {x} <= {high!r}",
        "<": f"{x} < {low!r}",
        "<=": f"{x} <= {high!r}",
        ">": f"{x} > {high!r}",
        ">=": f"{x} >= {low!r}",
    }[relation]


def _compare_values(relation: str, kind: Type, x: str, y: str) -> str:
    if kind is Type.BOOL:
        return f"bool({x}) {relation} bool({y})"
    return f"{_key(relation, kind, x)} {relation} {_key(relation, kind, y)}"


def _by_length(relation: str, kind: Type) -> bool:
    """Whether length decides first: of two byte strings Wireshark calls the shorter one the smaller."""
    return kind is Type.BYTES and relation not in ("==", "!=")


def _key(relation: str, kind: Type, x: str) -> str:
    return f"(len({x}), {x})" if _by_length(relation, kind) else x


def _constant_key(relation: str, kind: Type, value: Constant) -> object:
    return (len(value), value) if _by_length(relation, kind) and isinstance(value, bytes) else value


def _compare_bool(relation: str, x: str, *, wanted: bool) -> str:
    if relation in ("==", "!="):
        return x if wanted == (relation == "==") else f"not {x}"
    return f"bool({x}) {relation} {wanted}"


def _member(kind: Type, elements: tuple[Const | Between, ...], x: str) -> str:
    if kind is Type.BOOL:
        x = f"bool({x})"
    singles = [repr(element.value) for element in elements if isinstance(element, Const)]
    ranges = [element for element in elements if isinstance(element, Between)]
    tests = [
        f"{_constant_key('<=', kind, r.low)!r} <= {_key('<=', kind, x)} <= {_constant_key('<=', kind, r.high)!r}"
        for r in ranges
    ]
    if singles:
        tests.insert(0, f"{x} in {{{', '.join(singles)}}}" if len(singles) > 1 else f"{x} == {singles[0]}")
    return _joined(tests, every=False)


def _part(wanted: Range, start: str, end: str) -> str:
    """One range within start..end of the packet, empty if it reaches past either."""
    end = _parenthesised(end)
    size = f"{end} - {_parenthesised(start)}"
    offset, length = wanted.start, wanted.length
    if offset >= 0:
        first = f"{start} + {offset}" if offset else start
        last, needed = (
            (end, offset + 1) if length is None else (f"{start} + {offset + length}", offset + length)
        )
        return f'(p.data[{first} : {last}] if {size} >= {needed} else b"")'
    if length is not None and length > -offset:
        return 'b""'
    last = end if length in (None, -offset) else f"{end} - {-offset - (length or 0)}"
    return f'(p.data[{end} - {-offset} : {last}] if {size} >= {-offset} else b"")'


def _parenthesised(expression: str) -> str:
    return expression if re.fullmatch(r"[\w.]+(\([\w.]+\))?", expression) else f"({expression})"


def _joined(tests: list[str], *, every: bool) -> str:
    return tests[0] if len(tests) == 1 else f"({(' and ' if every else ' or ').join(tests)})"


def _not_empty(code: Code, *, every: bool) -> str:
    return f" and bool({code.many})" if every and code.many else ""
