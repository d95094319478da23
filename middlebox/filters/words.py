"""Words without which a filter cannot match: where an end has said none of them, the kernel need not ask.

Computed from the typed tree by over-approximation, like `needs`: whoever matches has said one of the words, in letters
of either case; who has said one need not match. Only fields count whose value stands in the stream as it is.

Source: Wireshark 4.0's meaning of `==`, `contains`, `matches` and `in`; pcre2pattern(3).
"""

from __future__ import annotations

import re
from typing import Final

from .typed import (
    AndTest,
    CompareTest,
    Const,
    ContainsTest,
    FieldValue,
    Leaf,
    MatchesTest,
    MemberTest,
    NotTest,
    OrTest,
    TypedTest,
    TypedValue,
)

Words = frozenset[bytes]

VERBATIM: Final = frozenset(
    {
        "http.cookie", "http.host", "http.referer", "http.request.uri", "http.user_agent", "tcp.payload",
        "tls.handshake.extensions_server_name",
    }
)  # fmt: skip
"""Fields whose value is a piece of the client's stream. Of TLS that is so where records are not joined."""

FEWEST_LETTERS: Final = 4
MOST_WORDS: Final = 16
"""A shorter word stands in too much, and each costs the kernel a search (chosen)."""

_ALTERNATIVE: Final = "|"
_OPEN, _CLOSE = "(", ")"
_PLAIN_GROUP: Final = "(?:"
_GROUP_EXTENSION: Final = "(?"
_REPEAT: Final = re.compile(r"(?:[*+?]|\{\d+(?:,\d*)?\})[?+]?")
_SPECIAL: Final = re.compile(
    r"""\\[^\w\s]            # a character that is meant as it is
      | \\(?:x[0-9A-Fa-f]{0,2}|\d+|c.|.)    # a character by its number, a class, an anchor
      | \[\^?\]?(?:\\.|[^\]\\])*\]
      | [.^$]
    """,
    re.VERBOSE | re.DOTALL,
)


def words_of(test: TypedTest) -> Words | None:
    """Those of which at least one stands in the stream of whoever matches; None: there may be others."""
    words = _words(test)
    if words is None or len(words) > MOST_WORDS or any(len(word) < FEWEST_LETTERS for word in words):
        return None
    return words


def _words(test: TypedTest) -> Words | None:
    match test:
        case NotTest():
            return None
        case AndTest(tests):
            known = [words for part in tests if (words := words_of(part)) is not None]
            return min(known, key=lambda words: (len(words), -min(map(len, words))), default=None)
        case OrTest(tests):
            parts = [words_of(part) for part in tests]
            return None if None in parts else frozenset().union(*(part for part in parts if part is not None))
    return _words_of_leaf(test)


def _words_of_leaf(leaf: Leaf) -> Words | None:
    match leaf:
        case CompareTest("==", value, Const() as constant) if _is_verbatim(value):
            return frozenset({_as_bytes(constant)})
        case ContainsTest(value, Const() as constant) if _is_verbatim(value):
            return frozenset({_as_bytes(constant)})
        case MemberTest(value, elements) if _is_verbatim(value):
            constants = [element for element in elements if isinstance(element, Const)]
            return frozenset(map(_as_bytes, constants)) if len(constants) == len(elements) else None
        case MatchesTest(value, pattern) if _is_verbatim(value):
            source = pattern.pattern
            return _words_of_pattern(source if isinstance(source, str) else source.decode("latin-1"))
    return None


def _is_verbatim(value: TypedValue) -> bool:
    return isinstance(value, FieldValue) and value.field.name in VERBATIM


def _as_bytes(constant: Const) -> bytes:
    value = constant.value
    return (value if isinstance(value, bytes) else str(value).encode("latin-1")).lower()  # ASCII's letters


def _words_of_pattern(pattern: str) -> Words | None:
    """The longest piece of a pattern that is plain text outside of all groups."""
    pieces = [""]
    depth = at = 0
    while at < len(pattern):
        special = _SPECIAL.match(pattern, at)
        token = special[0] if special else pattern[at]
        if special is None and token == _OPEN:
            if pattern.startswith(_GROUP_EXTENSION, at) and not pattern.startswith(_PLAIN_GROUP, at):
                return None  # looks around, or changes how the rest is read
            depth += 1
        elif special is None and token == _CLOSE:
            depth -= 1
        at += len(token)
        if depth == 0 and special is None and token == _ALTERNATIVE:
            return None
        letter = _letter(token, special=special is not None) if depth == 0 else ""
        if repeat := _REPEAT.match(pattern, at):
            letter = ""  # may not be there at all
            at = repeat.end()
        if letter:
            pieces[-1] += letter
        elif pieces[-1]:
            pieces.append("")
    return frozenset({max(pieces, key=len).encode("latin-1").lower()})


def _letter(token: str, *, special: bool) -> str:
    """The character that a token stands for, "" if it is none in particular."""
    if special:
        return token[1] if len(token) == 2 and token[0] == "\\" and not token[1].isalnum() else ""
    return "" if token in (_OPEN, _CLOSE) else token
