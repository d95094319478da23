"""Tokens -> syntax tree: the display filter grammar of Wireshark 4.0, by recursive descent.

Written by hand because it starts in no time (importing a parser generator and building its tables costs 40 ms and
more, a whole profile is to load in well under 100 ms) and because it can say what to write instead.

Source: Wireshark 4.0 epan/dfilter/grammar.lemon; checked against tshark 4.0.17.
"""

from __future__ import annotations

import re

from .errors import FilterError
from .lexer import Kind, Token, tokens
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
    Range,
    Slice,
    Test,
    Value,
    Word,
)

# Lowest first. Comparison binds weaker than all of them: `tcp.flags & 2 == 2` compares the masked flags.
_PRECEDENCE = ({"&"}, {"+", "-"}, {"*", "/", "%"})
_COMPARISONS = frozenset({"==", "!=", "===", "!==", "<", ">", "<=", ">="})
# A filter is written by hand; deeper nesting is a mistake, and would exhaust the stack (chosen).
_MAX_DEPTH = 50

_RANGE = re.compile(
    r"\s*(?:(?P<start>-?\w+)?\s*:\s*(?P<length>-?\w+)?|(?P<first>-?\w+)\s*-\s*(?P<last>-?\w+)|(?P<only>-?\w+))\s*"
)


def parse(text: str) -> Test:
    """The tree of a whole filter. FilterError: it is not one, with the offset of the first wrong token."""
    if not text.strip():
        raise FilterError("expected a filter such as tcp.dstport == 587, got nothing", 0)
    return _Parser(tokens(text)).whole()


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self._tokens = found
        self._at = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _unexpected(self, expected: str, hint: str = "") -> FilterError:
        token = self._next
        got = "the end of the filter" if token.kind is Kind.END else repr(token.text)
        return FilterError(f"expected {expected}, got {got}" + (f"; {hint}" if hint else ""), token.offset)

    def _take(self, kind: Kind, text: str) -> Token | None:
        """The next token if it is this one."""
        token = self._next
        if token.kind is kind and token.text == text:
            self._at += 1
            return token
        return None

    def _require(self, bracket: str, hint: str = "") -> None:
        if self._take(Kind.BRACKET, bracket) is None:
            raise self._unexpected("a comma" if bracket == "," else bracket, hint)

    # Tests

    def whole(self) -> Test:
        test = self._disjunction(0)
        if self._next.kind is not Kind.END:
            raise self._unexpected("and, or, or the end of the filter")
        return test

    def _disjunction(self, depth: int) -> Test:
        tests = [self._conjunction(depth)]
        while self._take(Kind.LOGIC, "or"):
            tests.append(self._conjunction(depth))
        return tests[0] if len(tests) == 1 else Or(tuple(tests))

    def _conjunction(self, depth: int) -> Test:
        tests = [self._negation(depth)]
        while self._take(Kind.LOGIC, "and"):
            tests.append(self._negation(depth))
        return tests[0] if len(tests) == 1 else And(tuple(tests))

    def _negation(self, depth: int) -> Test:
        if depth > _MAX_DEPTH:
            raise self._unexpected(f"at most {_MAX_DEPTH} levels of nesting")
        if self._take(Kind.LOGIC, "not"):
            return Not(self._negation(depth + 1))
        if self._take(Kind.BRACKET, "("):
            test = self._disjunction(depth + 1)
            self._require(")")
            if self._next.kind in (Kind.ARITHMETIC, Kind.RELATION):
                raise self._unexpected("and, or, or the end of the filter", "group arithmetic with { }")
            return test
        return self._relation(depth)

    def _relation(self, depth: int) -> Test:
        quantifier = self._next if self._next.kind is Kind.QUANTIFIER else None
        self._at += quantifier is not None
        every = None if quantifier is None else quantifier.text == "all"
        start = self._next.offset
        left = self._arithmetic(depth)
        token = self._next
        negated = self._take(Kind.LOGIC, "not") is not None
        relation = self._next.text if self._next.kind is Kind.RELATION else ""
        test: Test
        if negated and relation != "in":
            raise self._unexpected("in after not")
        if relation in _COMPARISONS:
            return self._comparisons(left, depth, every=every)
        if relation == "contains":
            self._at += 1
            return Contains(left, self._entity(depth), bool(every), token.offset)
        if relation == "matches":
            self._at += 1
            pattern = self._entity(depth)
            if not isinstance(pattern, Quoted):
                raise FilterError("expected a pattern in double quotes after matches", pattern.offset)
            return Matches(left, pattern, bool(every), token.offset)
        if relation == "in":
            self._at += 1
            # As in Wireshark, any and all mean nothing before `not in`: no value is in the set.
            test = Member(left, self._set(depth), bool(every) and not negated, token.offset)
            return Not(test) if negated else test
        if quantifier is not None:
            raise self._unexpected(f"a comparison after {quantifier.text}")
        return Exists(left, start)

    def _comparisons(self, left: Value, depth: int, *, every: bool | None) -> Test:
        """`a < b`, and `a < b < c`, which is `a < b and b < c`."""
        tests: list[Test] = []
        while self._next.kind is Kind.RELATION and self._next.text in _COMPARISONS:
            token = self._next
            self._at += 1
            right = self._arithmetic(depth)
            strict = token.text in ("!=", "===") if every is None else every
            tests.append(Compare(token.text[:2], left, right, strict, token.offset))
            left = right
        return tests[0] if len(tests) == 1 else And(tuple(tests))

    def _set(self, depth: int) -> tuple[tuple[Value, Value | None], ...]:
        self._require("{", "a set is written {80, 443, 8000..8100}")
        elements: list[tuple[Value, Value | None]] = []
        while True:
            low = self._signed(depth)
            high = self._signed(depth) if self._take(Kind.BRACKET, "..") else None
            elements.append((low, high))
            if self._take(Kind.BRACKET, "}"):
                return tuple(elements)
            self._require(",", "the elements of a set are separated by commas")

    # Values

    def _arithmetic(self, depth: int, level: int = 0) -> Value:
        if level == len(_PRECEDENCE):
            return self._group(depth) if self._next.text == "{" else self._signed(depth)
        left = self._arithmetic(depth, level + 1)
        while self._next.kind is Kind.ARITHMETIC and self._next.text in _PRECEDENCE[level]:
            operator = self._next
            self._at += 1
            right = self._arithmetic(depth, level + 1)
            left = Arithmetic(operator.text, left, right, operator.offset)
        return left

    def _group(self, depth: int) -> Value:
        if depth > _MAX_DEPTH:
            raise self._unexpected(f"at most {_MAX_DEPTH} levels of nesting")
        self._require("{")
        value = self._arithmetic(depth + 1)
        self._require("}")
        return value

    def _signed(self, depth: int) -> Value:
        if self._take(Kind.ARITHMETIC, "+"):
            return self._entity(depth)
        minus = self._take(Kind.ARITHMETIC, "-")
        return Minus(self._entity(depth), minus.offset) if minus else self._entity(depth)

    def _entity(self, depth: int) -> Value:
        if depth > _MAX_DEPTH:
            raise self._unexpected(f"at most {_MAX_DEPTH} levels of nesting")
        token = self._next
        value: Value
        if token.kind is Kind.QUOTED:
            value = Quoted(token.value, token.offset)
        elif token.kind is Kind.CHAR:
            value = Char(token.value[0], token.offset)
        elif token.kind is Kind.WORD:
            value = Word(token.text, token.offset)
        else:
            hint = "group arithmetic with { }" if token.text == "(" else ""
            raise self._unexpected("a field or a value", hint)
        self._at += 1
        if token.kind is Kind.WORD and self._take(Kind.BRACKET, "("):
            value = Call(token.text, self._arithmetic(depth + 1), token.offset)
            self._require(")")
        while self._next.kind is Kind.RANGES:
            value = Slice(value, _ranges(self._next), self._next.offset)
            self._at += 1
        return value


def _ranges(token: Token) -> tuple[Range, ...]:
    ranges: list[Range] = []
    at = token.offset + 1
    for part in token.text.split(","):
        ranges.append(_range(part, at))
        at += len(part) + 1
    return tuple(ranges)


def _range(part: str, offset: int) -> Range:
    """[i:j] is j bytes from i, [i-j] is i to j inclusive, [i] one byte, [:j] the first j, [i:] from i on."""
    match = _RANGE.fullmatch(part)
    expected = "expected a slice such as [0:4], [0-3], [2], [:4] or [-4:]"
    if match is None or part.strip() == ":":
        raise FilterError(f"{expected}, got {part!r}", offset)
    try:
        number = {name: int(text, 0) for name, text in match.groupdict().items() if text is not None}
    except ValueError:
        raise FilterError(f"{expected}, got {part!r}", offset) from None
    if "only" in number:
        return Range(number["only"], 1)
    if "first" in number:
        first, last = number["first"], number["last"]
        if (first < 0) != (last < 0) or last <= first:
            raise FilterError(f"expected a slice whose end lies behind its start, got {part!r}", offset)
        return Range(first, last - first + 1)
    length = number.get("length")
    if length is not None and length < 1:
        raise FilterError(
            f"expected a length of at least 1 after the colon, got {part!r}; [i:j] is j bytes from i", offset
        )
    return Range(number.get("start", 0), length)
