"""Classic BPF for iptables' `-m bpf`: which TCP segments are worth a look, decided by the kernel.

Pure. Each program stands beside the tcpdump expression that it is the translation of; a test compares them. In doubt
(later fragments, IPv6 extension headers, jumbograms, lying data offsets) a segment passes.
"""

from __future__ import annotations

from typing import Final

PAYLOAD_EXPRESSION: Final = {
    4: "ip[6:2] & 0x1fff != 0 or ip[2:2] - ((ip[0] & 0xf) << 2) - ((tcp[12] & 0xf0) >> 2) != 0",
    6: "ip6[6] != 6 or ip6[4:2] == 0 or ip6[4:2] - ((ip6[52] & 0xf0) >> 2) != 0",
}
"""TCP segments with payload, in the language of tcpdump. Later fragments, IPv6 extension headers, jumbograms and
lying data offsets count as payload."""

PAYLOAD_BYTECODE: Final = {
    4: (
        "23,48 0 0 0,84 0 0 240,21 0 19 64,40 0 0 6,69 16 0 8191,40 0 0 2,2 0 0 4,48 0 0 0,84 0 0 15,100 0 0 2,"
        "7 0 0 8,96 0 0 4,28 0 0 0,2 0 0 8,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,7 0 0 12,96 0 0 8,"
        "29 1 0 0,6 0 0 262144,6 0 0 0"
    ),
    6: (
        "16,48 0 0 0,84 0 0 240,21 0 12 96,48 0 0 6,21 0 9 6,40 0 0 4,21 7 0 0,2 0 0 5,48 0 0 52,84 0 0 240,"
        "116 0 0 2,7 0 0 9,96 0 0 5,29 1 0 0,6 0 0 262144,6 0 0 0"
    ),
}
"""`tcpdump -y RAW -ddd EXPRESSION` on one line, as `-m bpf` wants it; a test compares them."""

EMPTY_BYTECODE: Final = {
    family: bytecode.removesuffix("6 0 0 262144,6 0 0 0") + "6 0 0 0,6 0 0 262144"
    for family, bytecode in PAYLOAD_BYTECODE.items()
}
"""`not (PAYLOAD_EXPRESSION)`: the two answers change places. In doubt a segment is not empty."""

_V4_DATA, _V6_DATA = "((tcp[12] & 0xf0) >> 2)", "(40 + ((ip6[52] & 0xf0) >> 2))"
_V4_LENGTH = f"ip[2:2] - ((ip[0] & 0xf) << 2) - {_V4_DATA}"
_V6_LENGTH = "ip6[4:2] - ((ip6[52] & 0xf0) >> 2)"

TLS_EXPRESSION: Final = {
    4: (
        f"ip[6:2] & 0x1fff != 0 or ({_V4_LENGTH} != 0 and tcp[{_V4_DATA}] >= 20 and tcp[{_V4_DATA}] <= 23 "
        f"and ({_V4_LENGTH} == 1 or tcp[{_V4_DATA} + 1] == 3))"
    ),
    6: (
        f"ip6[6] != 6 or ip6[4:2] == 0 or ({_V6_LENGTH} != 0 and ip6[{_V6_DATA}] >= 20 and ip6[{_V6_DATA}] <= 23 "
        f"and ({_V6_LENGTH} == 1 or ip6[{_V6_DATA} + 1] == 3))"
    ),
}
"""Payload that may be the beginning of a TLS record: a content type and the major version (RFC 8446 5.1), as far as
they are there. In doubt as above."""

TLS_BYTECODE: Final = {
    4: (
        "62,48 0 0 0,84 0 0 240,21 0 58 64,40 0 0 6,69 55 0 8191,40 0 0 2,2 0 0 4,48 0 0 0,84 0 0 15,"
        "100 0 0 2,7 0 0 8,96 0 0 4,28 0 0 0,2 0 0 8,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,7 0 0 12,"
        "96 0 0 8,29 40 0 0,48 0 0 9,21 0 38 6,40 0 0 6,69 36 0 8191,177 0 0 0,80 0 0 12,84 0 0 240,"
        "116 0 0 2,12 0 0 0,7 0 0 0,80 0 0 0,53 0 28 20,37 27 0 23,40 0 0 2,2 0 0 8,48 0 0 0,84 0 0 15,"
        "100 0 0 2,7 0 0 12,96 0 0 8,28 0 0 0,2 0 0 12,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,7 0 0 0,"
        "96 0 0 12,28 0 0 0,21 9 0 1,177 0 0 0,80 0 0 12,84 0 0 240,116 0 0 2,4 0 0 1,12 0 0 0,7 0 0 0,"
        "80 0 0 0,21 0 1 3,6 0 0 262144,6 0 0 0"
    ),
    6: (
        "28,48 0 0 0,84 0 0 240,21 0 24 96,48 0 0 6,21 0 21 6,40 0 0 4,21 19 0 0,2 0 0 5,48 0 0 52,"
        "84 0 0 240,116 0 0 2,7 0 0 9,96 0 0 5,29 13 0 0,80 0 0 40,53 0 11 20,37 10 0 23,40 0 0 4,28 0 0 0,"
        "21 6 0 1,0 0 0 40,12 0 0 0,4 0 0 1,7 0 0 1,80 0 0 0,21 0 1 3,6 0 0 262144,6 0 0 0"
    ),
}
"""The same of these."""
