"""Values without quotes."""

from __future__ import annotations

import pytest

from middlebox.filters.literals import hex_bytes, number
from tests.unit.filter_kit import error_of, matches, tcp


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0), ("80", 80), ("0x1BB", 443), ("0b101", 5), ("0B1", 1), ("010", 8), ("00", 0),
        ("", None), ("08", None), ("0x", None), ("0b2", None), ("8a", None), ("1e3", None), ("1_0", None), ("-1", None),
        ("٣", None),
    ],
)  # fmt: skip
def test_numbers_are_those_of_c(text: str, expected: int | None) -> None:
    """Decimal, hexadecimal, binary, and octal with a leading 0."""
    assert number(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16:03:01", "160301"), ("16-03-01", "160301"), ("16.03.01", "160301"), ("160301", "160301"),
        ("0.1.0.d", "0001000d"), (":16", "16"), (":16:03", "1603"), ("0x16", "16"), ("a", "0a"), ("AB:cd", "abcd"),
        ("16:3", None), ("16:", None), ("163", None), ("0x1603", None), ("16-03.01", None), ("xy", None), ("", None),
    ],
)  # fmt: skip
def test_bytes_are_always_hexadecimal(text: str, expected: str | None) -> None:
    """Also where they look decimal, as in Wireshark."""
    assert hex_bytes(text) == (None if expected is None else bytes.fromhex(expected))


@pytest.mark.parametrize(
    ("text", "address", "expected"),
    [
        ("ip.src == 10.1.2.3/16", "10.1.255.255", True),
        ("ip.src == 10.1.2.3/16", "10.2.0.0", False),
        ("ip.src != 10.0.0.0/8", "10.9.9.9", False),
        ("ip.src < 10.0.0.4/30", "10.0.0.3", True),
        ("ip.src <= 10.0.0.4/30", "10.0.0.7", True),
        ("ip.src > 10.0.0.4/30", "10.0.0.7", False),
        ("ip.src >= 10.0.0.4/30", "10.0.0.4", True),
        ("ip.src in {10.0.0.0/8, 192.0.2.1}", "192.0.2.1", True),
        ("ip.src in {10.0.0.1..10.0.0.3}", "10.0.0.4", False),
        ("ip.src == 0.0.0.0/0", "255.255.255.255", True),
    ],
)
def test_prefix_is_the_range_of_its_addresses(text: str, address: str, expected: bool) -> None:
    """Equal to a prefix is within it; below and above it are outside."""
    assert matches(text, tcp(src=address)) is expected


@pytest.mark.parametrize(
    "text", ["10.0.0", "10.0.0.256", "10.0.0.1/33", "10.0.0.1/255.0.0.0", "mail.example", "::1"]
)
def test_wrong_address_does_not_load(text: str) -> None:
    """No names: a rule does not depend on who resolves them."""
    assert "expected an IPv4 address or prefix for ip.src" in error_of(f"ip.src == {text}").message


@pytest.mark.parametrize("text", ["2001:db8::/129", "10.0.0.1", "2001:db8::g"])
def test_wrong_ipv6_address_does_not_load(text: str) -> None:
    """The same for IPv6."""
    assert "expected an IPv6 address or prefix" in error_of(f"ipv6.src == {text}").message
