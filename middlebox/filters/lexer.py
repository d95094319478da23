"""Filter text -> tokens, by the rules of Wireshark 4.0's scanner.

The scanner is older than its grammar: a minus sign inside a word belongs to the word (`mac-lte`), so arithmetic
needs spaces around it, and what stands between [ and ] is a token of its own.

Source: Wireshark 4.0 epan/dfilter/scanner.l and wireshark-filter(4); checked against tshark 4.0.17.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import NamedTuple

from .errors import FilterError


class Kind(Enum):
    """What a token is; the value is how messages call it."""

    WORD = "a name or value"
    QUOTED = "a quoted string"
    CHAR = "a character constant"
    RANGES = "a slice"
    RELATION = "a comparison"
    LOGIC = "and, or, not"
    QUANTIFIER = "any, all"
    ARITHMETIC = "an arithmetic operator"
    BRACKET = "a bracket"
    END = "the end of the filter"


class Token(NamedTuple):
    kind: Kind
    text: str
    offset: int
    value: bytes = b""


_ALIASES = {
    "eq": (Kind.RELATION, "=="), "any_eq": (Kind.RELATION, "=="), "==": (Kind.RELATION, "=="),
    "ne": (Kind.RELATION, "!="), "all_ne": (Kind.RELATION, "!="), "!=": (Kind.RELATION, "!="),
    "all_eq": (Kind.RELATION, "==="), "===": (Kind.RELATION, "==="),
    "any_ne": (Kind.RELATION, "!=="), "!==": (Kind.RELATION, "!=="), "~=": (Kind.RELATION, "!=="),
    "gt": (Kind.RELATION, ">"), ">": (Kind.RELATION, ">"), "ge": (Kind.RELATION, ">="), ">=": (Kind.RELATION, ">="),
    "lt": (Kind.RELATION, "<"), "<": (Kind.RELATION, "<"), "le": (Kind.RELATION, "<="), "<=": (Kind.RELATION, "<="),
    "contains": (Kind.RELATION, "contains"),
    "matches": (Kind.RELATION, "matches"), "~": (Kind.RELATION, "matches"),
    "in": (Kind.RELATION, "in"),
    "and": (Kind.LOGIC, "and"), "&&": (Kind.LOGIC, "and"),
    "or": (Kind.LOGIC, "or"), "||": (Kind.LOGIC, "or"),
    "not": (Kind.LOGIC, "not"), "!": (Kind.LOGIC, "not"),
    "any": (Kind.QUANTIFIER, "any"), "all": (Kind.QUANTIFIER, "all"),
    "bitwise_and": (Kind.ARITHMETIC, "&"),
}  # fmt: skip

_INSTEAD = {
    "xor": "and, or", "^^": "and, or", ";": "a comma", "=": "==", "|": "||", "<>": "!=", "#": "a field",
    "@": "a field",
}  # fmt: skip
"""What is expected in the place of words that other languages know."""

_HINTS = {
    "xor": "write `(a and not b) or (b and not a)`: Wireshark 4.0 has no xor",
    "^^": "write `(a and not b) or (b and not a)`: Wireshark 4.0 has no xor",
    ";": "separate the elements of a set with commas",
    "=": "equality is ==",
    "|": "or is ||",
    "<>": "inequality is !=",
    "#": "layers are not supported: a box reads the outermost headers",
    "@": "raw bytes of a field are not supported",
}

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)
      | (?P<quoted>[rR]?")
      | (?P<char>')
      | (?P<dots>\.\.)
      | (?P<word>[A-Za-z0-9_:][A-Za-z0-9_:/-]*(?:\.[A-Za-z0-9_:/-]+)*)
      | (?P<operator>===|!==|==|!=|~=|>=|<>|<=|&&|\|\||\^\^|[<>!~+\-*/%&])
      | (?P<bracket>[(){},])
      | (?P<slice>\[)
      | (?P<wrong>.)""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"""[abfnrtv\\'"]|[0-7]{1,3}|x[0-9A-Fa-f]{1,2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}""")
_SIMPLE = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34}


def tokens(text: str) -> list[Token]:
    """All tokens of a filter, the last of kind END. FilterError: something that is no token."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None  # `wrong` takes any character
        token, at = _token(text, match)
        if token is not None:
            found.append(token)
    found.append(Token(Kind.END, "", len(text)))
    return found


def _token(text: str, match: re.Match[str]) -> tuple[Token | None, int]:
    group, written, at = match.lastgroup, match.group(), match.start()
    if group == "space":
        return None, match.end()
    if group == "quoted":
        return _quoted(text, at, raw=len(written) == 2)
    if group == "char":
        return _character(text, at)
    if group == "slice":
        close = text.find("]", at)
        if close < 0:
            raise FilterError("expected ] at the end of the slice, got the end of the filter", at)
        return Token(Kind.RANGES, text[at + 1 : close], at), close + 1
    if written in _HINTS:
        raise FilterError(f"expected {_INSTEAD[written]}, got {written!r}; {_HINTS[written]}", at)
    if written in _ALIASES:
        kind, name = _ALIASES[written]
        return Token(kind, name, at), match.end()
    if group == "wrong":
        what = "a name, a value or an operator"
        raise FilterError(f"expected {what}, got {written!r}; text and patterns go in double quotes", at)
    if group == "operator":
        return Token(Kind.ARITHMETIC, written, at), match.end()
    return Token(Kind.WORD if group == "word" else Kind.BRACKET, written, at), match.end()


def _quoted(text: str, start: int, *, raw: bool) -> tuple[Token, int]:
    """A raw string keeps its backslashes, also the one that lets a quote stand in it."""
    value = bytearray()
    at = start + 1 + raw
    while at < len(text):
        character = text[at]
        if character == '"':
            return Token(Kind.QUOTED, text[start : at + 1], start, bytes(value)), at + 1
        if character != "\\":
            value += character.encode()
            at += 1
        elif raw:
            value += text[at : at + 2].encode()
            at += 2
        else:
            piece, at = _escape(text, at)
            value += piece
    raise FilterError('expected " at the end of the string, got the end of the filter', start)


def _escape(text: str, at: int) -> tuple[bytes, int]:
    match = _ESCAPE.match(text, at + 1)
    if match is None:
        shown = text[at : at + 2]
        raise FilterError(
            f"expected an escape such as \\n or \\x16, got {shown}; "
            'write the backslash twice, or the whole string as r"..."',
            at,
        )
    code = match.group()
    if code in _SIMPLE:
        return bytes([_SIMPLE[code]]), match.end()
    if code[0] in "uU":
        try:
            return chr(int(code[1:], 16)).encode(), match.end()
        except (ValueError, UnicodeEncodeError):
            raise FilterError(f"expected a Unicode character, got \\{code}", at) from None
    number = int(code[1:], 16) if code[0] == "x" else int(code, 8)
    if number > 255:
        raise FilterError(f"expected at most \\377, got \\{code}", at)
    return bytes([number]), match.end()


def _character(text: str, start: int) -> tuple[Token, int]:
    at = start + 1
    if text[at : at + 1] == "\\":
        value, at = _escape(text, at)
    else:
        value, at = text[at : at + 1].encode(), at + 1
    if len(value) != 1 or text[at : at + 1] != "'" or text[start + 1] == "'":
        raise FilterError("expected one character in single quotes; text goes in double quotes", start)
    return Token(Kind.CHAR, text[start : at + 1], start, value), at + 1
