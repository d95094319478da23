"""Patterns: only what Wireshark's engine and Python's read alike."""

from __future__ import annotations

import pytest

from tests.unit.filter_kit import error_of, matches, tcp


@pytest.mark.parametrize(
    ("pattern", "payload", "expected"),
    [
        ("starttls", b"STARTTLS", True),
        ("(?-i)starttls", b"STARTTLS", False),
        (r"^get\s", b"GET /", True),
        ("^get", b" GET /", False),
        (r"\x16\x03[\x00-\x04]", b"\x16\x03\x01", True),
        ("a.c", b"a\nc", False),
        ("(?s)a.c", b"a\nc", True),
        ("abc$", b"abc\n", True),
        ("abc$", b"abc\r\n", False),
        (r"\w", b"\xe9", False),
        ("\\\\", b"a\\b", True),
        ("(a+)+$", b"aaa", True),
    ],
)
def test_pattern_searches_anywhere_and_ignores_case(pattern: str, payload: bytes, expected: bool) -> None:
    """Bytes are bytes: a dot is any byte but a line feed, letters are ASCII."""
    assert matches(f'tcp.payload matches r"{pattern}"', tcp(payload)) is expected
    assert (
        matches(
            f'smtp.req.command matches r"{pattern}"',
            tcp(b"x"),
            {"smtp.req.command": [payload.decode("latin-1")]},
        )
        is expected
    )


@pytest.mark.parametrize(
    "pattern",
    [
        "(", "[a", "*", "a{2,1}",
        "(?<n>a)", "[[:alpha:]]", "[a[:digit:]]", r"\R", r"\h", r"\v", r"\Qa\E", r"\K", r"a\Z",
        r"\p{L}", r"\x{16}", "a{,3}", "(?R)", "(?1)", "(?|a|b)", "(*COMMIT)", "[a--b]", "[a&&b]",
    ],
)  # fmt: skip
def test_pattern_that_is_bad_or_read_differently_does_not_load(pattern: str) -> None:
    """Better no rule than one that means another thing in Wireshark."""
    error = error_of(f'tcp.payload matches r"{pattern}"')
    assert error.offset == len("tcp.payload matches ")
    assert error.message.startswith(("expected a pattern that Wireshark", "expected a regular expression"))


def test_escaped_backslash_is_no_escape() -> None:
    r"""`\\R` is a backslash and an R."""
    assert matches(r'tcp.payload matches r"\\R"', tcp(b"a\\R"))
