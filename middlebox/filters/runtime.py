"""What generated code calls when an expression alone would not do. Bytes in, values out; nothing here can raise.

`payload` is always the bytes after the transport header, and never empty.

Source of the measures: Wu et al., "How the Great Firewall of China detects and blocks fully encrypted traffic",
USENIX Security 2023, Algorithm 1 (bits set, printable bytes 0x20 to 0x7e).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from math import log2
from typing import Any

from middlebox.packet import Packet

from .search import contains
from .syntax import Range

# How far `tcp.payload matches` looks to both sides of a segment border: the longest command line of RFC 5321 4.5.3.1.4
# is 512 bytes (chosen).
PATTERN_WINDOW_BYTES = 511
# What can tell where a text ends, or what follows it: such a pattern is shown the whole payload.
_LOOKS_AHEAD = re.compile(rb"\$|\\[bB]|\(\?")

_PRINTABLE = bytes(range(0x20, 0x7F))
_PRINTABLE_RUN = re.compile(rb"[ -~]+")


def mean_popcount(payload: bytes) -> float:
    return int.from_bytes(payload, "big").bit_count() / len(payload)


def entropy(payload: bytes) -> float:
    size = len(payload)
    return log2(size) - sum(count * log2(count) for count in Counter(payload).values()) / size


def printable_share(payload: bytes) -> float:
    return 1 - len(payload.translate(None, _PRINTABLE)) / len(payload)


def printable_prefix(payload: bytes) -> int:
    match = _PRINTABLE_RUN.match(payload)
    return match.end() if match else 0


def printable_run(payload: bytes) -> int:
    return max(map(len, _PRINTABLE_RUN.findall(payload)), default=0)


def record_length(payload: bytes) -> int:
    """The number where a TLS record says its length (RFC 8446 5.1), whatever it is; 0 where it is too short."""
    return int.from_bytes(payload[3:5], "big")


def spans_border(p: Packet, needle: bytes) -> bool:
    """Whether `needle` begins before this payload and ends in it. `p.stream_tail` is not empty."""
    reach = len(needle) - 1
    head = p.data[p.payload_start : min(p.end, p.payload_start + reach)]
    return reach > 0 and needle in p.stream_tail[-reach:] + head


def matches_over_border(p: Packet, pattern: re.Pattern[bytes]) -> bool:
    """Whether a match begins before this payload and ends in it. `p.stream_tail` is not empty."""
    tail = p.stream_tail
    border = len(tail) + 1
    end = (
        p.end if _LOOKS_AHEAD.search(pattern.pattern) else min(p.end, p.payload_start + PATTERN_WINDOW_BYTES)
    )
    # The byte in front keeps ^ from matching where the tail was cut out of the stream.
    for match in pattern.finditer(b"\0" + tail + p.data[p.payload_start : end], 1):
        if match.start() >= border:
            return False
        if match.end() > border:
            return True
    return False


def cut(values: Iterable[bytes | str], ranges: tuple[Range, ...]) -> list[bytes]:
    """The slices of each value, joined. A range that reaches past the end adds nothing, nor do those after it."""
    return [
        _joined(value.encode("latin-1", "replace") if isinstance(value, str) else value, ranges)
        for value in values
    ]


def _joined(data: bytes, ranges: tuple[Range, ...]) -> bytes:
    parts: list[bytes] = []
    for wanted in ranges:
        start = wanted.start if wanted.start >= 0 else len(data) + wanted.start
        end = len(data) if wanted.length is None else start + wanted.length
        if not 0 <= start < end <= len(data):
            break
        parts.append(data[start:end])
    return b"".join(parts)


def bytes_and(left: bytes, right: bytes) -> bytes:
    """Bitwise and, as long as the shorter of the two."""
    return bytes(a & b for a, b in zip(left, right, strict=False))


def upper(text: str) -> str:
    """ASCII letters only: the other bytes have no known encoding."""
    return text.encode("latin-1", "replace").upper().decode("latin-1")


def lower(text: str) -> str:
    return text.encode("latin-1", "replace").lower().decode("latin-1")


HELPERS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        mean_popcount, entropy, printable_share, printable_prefix, printable_run, record_length, spans_border,
        matches_over_border, cut, bytes_and, upper, lower, contains,
    )
}  # fmt: skip
