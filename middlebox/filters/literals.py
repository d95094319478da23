"""Unquoted and quoted values -> constants of the type they are compared with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from .errors import FilterError, nearest
from .fields import Type
from .syntax import Char, Quoted, Word
from .typed import Between, Const

_HEX_BYTES = re.compile(
    r"""(?P<joined> :?(?:[0-9a-f]{2})+ | :?[0-9a-f]{2}(?::[0-9a-f]{2})+ | 0x[0-9a-f]{1,2} | [0-9a-f])
      | [0-9a-f]{1,2}(?P<separator>[.-])(?:[0-9a-f]{1,2}(?P=separator))*[0-9a-f]{1,2}""",
    re.VERBOSE | re.IGNORECASE,
)
# Protocols and fields of Wireshark 4.0 whose names look like bytes; there they win.
_NAMES_LIKE_BYTES = frozenset({"dc", "dc.dc", "e100", "e164", "e212", "fc", "fc00", "fefd", "ff"})
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
    node: Literal,
    kind: Type,
    name: str,
    limits: tuple[int, int],
    words: Mapping[str, int],
    known: Iterable[str],
) -> Const | Between:
    """`node` as a constant of type `kind`, to be compared with what messages call `name`.

    Numbers must lie within `limits`, a choice is one of `words`; `known` are the field names, for typing errors.
    """
    if kind is Type.NUMBER:
        value = (
            node.value if isinstance(node, Char) else number(node.text) if isinstance(node, Word) else None
        )
        if value is None:
            raise _wrong(node, f"a number for {name}", known)
        return in_range(value, limits, node.offset, name)
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
        if node.text in _NAMES_LIKE_BYTES:
            got = f"{node.text!r}, which Wireshark takes for a protocol"
            raise FilterError(f"expected bytes for {name}, got {got}; write :{node.text}", node.offset)
        data_or_none = hex_bytes(node.text)
        if data_or_none is not None:
            return Const(kind, data_or_none)
    if kind in (Type.IPV4, Type.IPV6) and isinstance(node, Word):
        return _address(node, kind, name)
    if kind is Type.CHOICE:
        word = node.value.decode("latin-1") if isinstance(node, Quoted) else ""
        if word in words:
            return Const(kind, words[word])
        raise _wrong(node, f"{' or '.join(map(quote, words))} for {name}", words)
    raise _wrong(node, f"{kind.value} for {name}", known)


def in_range(value: int, limits: tuple[int, int], offset: int, name: str) -> Const:
    low, high = limits
    if not low <= value <= high:
        raise FilterError(f"expected a number from {low} to {high} for {name}, got {value}", offset)
    return Const(Type.NUMBER, value)


def quote(text: str) -> str:
    return f'"{text}"'


def hex_bytes(text: str) -> bytes | None:
    """`16:03:01`, `16-03-01`, `16.3.1`, `160301`, `0x16` or `16`: always hexadecimal, as in Wireshark."""
    match = _HEX_BYTES.fullmatch(text)
    if match is None:
        return None
    if match["joined"]:
        digits = text.lower().removeprefix("0x").replace(":", "")
        return bytes.fromhex(digits.zfill(2))
    return bytes(int(digits, 16) for digits in text.split(match["separator"]))


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
