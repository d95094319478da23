"""Text to tokens, by the rules of Wireshark's scanner."""

from __future__ import annotations

import pytest

from middlebox.filters import FilterError
from middlebox.filters.lexer import Kind, tokens


def texts(text: str) -> list[str]:
    return [token.text for token in tokens(text)[:-1]]


def string(text: str) -> bytes:
    (token, _) = tokens(text)
    return token.value


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("tcp.port==80", ["tcp.port", "==", "80"]),
        ("ip.src==10.0.0.0/8", ["ip.src", "==", "10.0.0.0/8"]),
        ("ipv6.src eq 2001:db8::/32", ["ipv6.src", "==", "2001:db8::/32"]),
        ("tcp.payload[0:3]==16:03:01", ["tcp.payload", "0:3", "==", "16:03:01"]),
        ("tcp.port in {80..90,443}", ["tcp.port", "in", "{", "80", "..", "90", ",", "443", "}"]),
        ("!tcp&&udp||ip", ["not", "tcp", "and", "udp", "or", "ip"]),
        ("tcp.flags&2", ["tcp.flags", "&", "2"]),
        ("a~b", ["a", "matches", "b"]),
        ("a ~= b", ["a", "!==", "b"]),
        ("len(tcp)>1", ["len", "(", "tcp", ")", ">", "1"]),
    ],
)
def test_scanner_cuts_where_wireshark_cuts(written: str, expected: list[str]) -> None:
    """Addresses, bytes and ranges are one token each, with or without spaces around them."""
    assert texts(written) == expected


def test_scanner_takes_a_minus_inside_a_word_for_part_of_it() -> None:
    """Wireshark has names such as mac-lte, so arithmetic needs spaces."""
    assert texts("tcp.port-1") == ["tcp.port-1"]
    assert texts("tcp.port - 1") == ["tcp.port", "-", "1"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (r'"plain"', b"plain"),
        (r'"\x16\x03\1\101"', b"\x16\x03\x01A"),
        (r'"a\"b\\c\n\r\t"', b'a"b\\c\n\r\t'),
        (r'"é"', "é".encode()),
        (r'"\u00e9\U0001F600"', "é\U0001f600".encode()),
        (r'r"\d\.\x16"', rb"\d\.\x16"),
        (r'R"a\"b"', rb"a\"b"),
    ],
)
def test_string_stands_for_its_bytes(written: str, expected: bytes) -> None:
    """Escapes are bytes, other characters UTF-8, raw strings keep their backslashes."""
    assert string(written) == expected


@pytest.mark.parametrize(("written", "expected"), [("'a'", b"a"), (r"'\x16'", b"\x16"), (r"'\''", b"'")])
def test_character_constant_is_one_byte(written: str, expected: bytes) -> None:
    """A character in single quotes, as in C."""
    (token, _) = tokens(written)
    assert (token.kind, token.value) == (Kind.CHAR, expected)


@pytest.mark.parametrize(
    ("written", "offset", "message"),
    [
        ('a == "b', 5, 'expected " at the end of the string'),
        ("a[0:2", 1, "expected ] at the end of the slice"),
        (r'a == "\d"', 6, "write the backslash twice"),
        (r'a == "\777"', 6, r"expected at most \377"),
        (r'a == "\ud800"', 6, "expected a Unicode character"),
        ("a == 'ab'", 5, "one character in single quotes"),
        ("a == ''", 5, "one character in single quotes"),
        ("a xor b", 2, "(a and not b) or (b and not a)"),
        ("a = b", 2, "equality is =="),
        ("a | b", 2, "or is ||"),
        ("a <> b", 2, "inequality is !="),
        ("a in {1;2}", 7, "with commas"),
        ("a == $b", 5, "double quotes"),
    ],
)
def test_scanner_refuses_with_place_and_advice(written: str, offset: int, message: str) -> None:
    """What is no token is shown where it stands, with what to write instead."""
    with pytest.raises(FilterError) as caught:
        tokens(written)
    assert caught.value.offset == offset
    assert message in caught.value.message
