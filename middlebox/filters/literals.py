"""Unquoted and quoted values -> constants of the type they are compared with."""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import FilterError, nearest
from .fields import Field, Type
from .syntax import Char, Quoted, Word
from .typed import Between, Const

_HEX_BYTES = re.compile(
    r":?(?:[0-9A-Fa-f]{2})+|:?[0-9A-Fa-f]{1,2}([:.-])(?:[0-9A-Fa-f]{1,2}\1)*[0-9A-Fa-f]{1,2}"
)
_REAL = re.compile(r"\d+(\.\d+)?")
_BOOLEANS = {"True": True, "TRUE": True, "False": False, "FALSE": False}

Literal = Word | Quoted | Char


def shown(node: Literal) -> str:
    """A literal as it stood in the filter, or near enough, for messages."""
    if isinstance(node, Word):
        return repr(node.text)
    return repr(node.value.decode("latin-1") if isinstance(node, Quoted) else chr(node.value))


def number(text: str) -> int | None:
    """Decimal, 0x hexadecimal, 0b binary or, with a leading 0, octal; None if it is none of these."""
    lowered = text.lower()
    base = 10
    if lowered.startswith(("0x", "0b")):
        base = 16 if lowered[1] == "x" else 2
        lowered = lowered[2:]
    elif lowered.startswith("0"):
        base = 8
    try:
        return int(lowered, base) if lowered.isalnum() and lowered.isascii() else None
    except ValueError:
        return None


def constant(
    node: Literal, kind: Type, like: Field | None, low: int, high: int, known: Iterable[str]
) -> Const | Between:
    """`node` as a constant of type `kind`, to be compared with `like`; numbers must lie in low..high."""
    name = like.name if like else "this"
    if kind is Type.NUMBER:
        value = (
            node.value if isinstance(node, Char) else number(node.text) if isinstance(node, Word) else None
        )
        if value is None:
            raise _wrong(node, f"a number for {name}", known)
        return in_range(value, low, high, node.offset, name)
    if kind is Type.REAL and isinstance(node, Word) and _REAL.fullmatch(node.text):
        return Const(kind, float(node.text))
    if kind is Type.BOOL and isinstance(node, Word):
        value = number(node.text)
        if node.text in _BOOLEANS or value is not None:
            return Const(kind, _BOOLEANS.get(node.text, bool(value)))
    if kind in (Type.TEXT, Type.BYTES) and not isinstance(node, Word):
        data = node.value if isinstance(node, Quoted) else bytes([node.value])
        return Const(kind, data.decode("latin-1") if kind is Type.TEXT else data)
    if kind is Type.BYTES and isinstance(node, Word):
        data_or_none = hex_bytes(node.text)
        if data_or_none is not None:
            return Const(kind, data_or_none)
    if kind in (Type.IPV4, Type.IPV6) and isinstance(node, Word):
        return _address(node, kind, name)
    if kind is Type.CHOICE and like is not None:
        word = node.value.decode("latin-1") if isinstance(node, Quoted) else None
        if word is not None and word in like.choices:
            return Const(kind, like.choices[word])
        raise _wrong(node, f"{' or '.join(map(quote, like.choices))} for {name}", like.choices)
    raise _wrong(node, f"{kind.value} for {name}", known)


def in_range(value: int, low: int, high: int, offset: int, name: str) -> Const:
    if not low <= value <= high:
        raise FilterError(f"expected a number from {low} to {high} for {name}, got {value}", offset)
    return Const(Type.NUMBER, value)


def quote(text: str) -> str:
    return f'"{text}"'


def hex_bytes(text: str) -> bytes | None:
    """`16:03:01`, `16-03-01`, `16.3.1`, `160301`, `0x16` or `16`: always hexadecimal, as in Wireshark."""
    if re.fullmatch("0[xX][0-9A-Fa-f]{1,2}", text):
        return bytes([int(text, 16)])
    if re.fullmatch("[0-9A-Fa-f]", text):
        return bytes([int(text, 16)])
    match = _HEX_BYTES.fullmatch(text)
    if match is None:
        return None
    digits = text.lstrip(":")
    if match.group(1) is None:
        return bytes.fromhex(digits)
    return bytes(int(pair, 16) for pair in digits.split(match.group(1)))


def _wrong(node: Literal, expected: str, known: Iterable[str]) -> FilterError:
    hint = nearest(node.text, known) if isinstance(node, Word) and not node.text[0].isdigit() else ""
    return FilterError(f"expected {expected}, got {shown(node)}" + (f"; {hint}" if hint else ""), node.offset)


def _address(node: Word, kind: Type, name: str) -> Const | Between:
    from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface

    single, network = (IPv4Address, IPv4Interface) if kind is Type.IPV4 else (IPv6Address, IPv6Interface)
    try:
        if "/" not in node.text:
            return Const(kind, single(node.text).packed)
        if not node.text.partition("/")[2].isdigit():
            raise ValueError("the prefix is a number of bits")
        subnet = network(node.text).network
        return Between(kind, subnet[0].packed, subnet[-1].packed)
    except ValueError as error:
        raise FilterError(
            f"expected {kind.value} for {name}, got {node.text!r}; {error}", node.offset
        ) from None
