"""Patterns of `matches`: those that PCRE2 (Wireshark) and Python's re read the same way, and no others.

Wireshark 4.0 compiles a pattern caseless, byte by byte unless the field is text, and searches anywhere in the value.

Source: pcre2pattern(3); Wireshark 4.0 epan/dfilter/semcheck.c; checked against tshark 4.0.17.
"""

from __future__ import annotations

import re
import warnings

from .errors import FilterError

# Constructs that the two engines read differently, or only one of them knows, each with what to write instead.
_DIFFERENT = (
    (re.compile(r"\[\[:\^?\w+:\]|\[[^\]]*\[:\^?\w+:\]"), "write [A-Za-z] or \\\\d for a POSIX class"),
    (re.compile(r"\\[RhHvVXKNQEpPzZGCouUlLg]"), "write the characters out"),
    (re.compile(r"\\x\{"), "write \\\\xNN"),
    (re.compile(r"\{,\d"), "write {0,n}: before PCRE2 10.43 {,n} is literal text"),
    (re.compile(r"\(\?[|R0-9&+]|\(\*"), "recursion and verbs are not supported"),
    (re.compile(r"\(\?<[A-Za-z_]"), "write (?P<name>...)"),
)
_CASE_SENSITIVE = "(?-i)"


def compile_pattern(source: bytes, offset: int, *, text: bool) -> re.Pattern[str] | re.Pattern[bytes]:
    """A compiled pattern for text (latin-1) or for bytes. FilterError: bad, or not the same in both engines."""
    written = source.decode("latin-1")
    flags = re.IGNORECASE
    body = written
    if written.startswith(_CASE_SENSITIVE):
        flags = re.RegexFlag(0)
        body = written.removeprefix(_CASE_SENSITIVE)
    # Escaped backslashes must not be taken for the start of an escape.
    visible = body.replace("\\\\", "\0\0")
    for construct, instead in _DIFFERENT:
        found = construct.search(visible)
        if found:
            raise FilterError(
                f"expected a pattern that Wireshark and Python read alike, got {found.group()!r}; {instead}",
                offset,
            )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            if text:
                return re.compile(body, flags | re.ASCII)
            return re.compile(body.encode("latin-1"), flags)
    except (re.error, FutureWarning, OverflowError, RecursionError) as error:
        raise FilterError(f"expected a regular expression, got {written!r}; {error}", offset) from None
