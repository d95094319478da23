"""What nft calls the things that the box's rules speak of: segments without payload, SYNs, marks. Pure.

Sources: nft(8); RFC 791 3.1, RFC 8200 3, RFC 9293 3.1 (the lengths of headers).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from middlebox.packet import ACK, FIN, RST, SYN
from middlebox.wants import Ports

HEADER_WORDS: Final = range(5, 16)
"""Lengths of an IPv4 or TCP header, in 32-bit words."""
_EMPTY4 = [f"{0x40 | ip} . {tcp << 4} . {4 * (ip + tcp)}" for ip in HEADER_WORDS for tcp in HEADER_WORDS]
_EMPTY6 = [f"{tcp << 4} . {4 * tcp}" for tcp in HEADER_WORDS]
EMPTY: Final = (
    # the byte with version and header length, the byte with the data offset, the length of it all
    f"ip protocol tcp @nh,0,8 . @th,96,8 . ip length {{ {', '.join(_EMPTY4)} }}",
    f"ip6 nexthdr tcp @th,96,8 . ip6 length {{ {', '.join(_EMPTY6)} }}",
)
"""TCP segments without payload, for each IP version: nothing behind the headers. Extension headers, jumbograms and
lying data offsets are in no such list: in doubt a segment is not empty."""

_TCP4: Final = "@nh,0,8 0x45 @nh,72,8 6"
_TCP6: Final = "@nh,0,4 6 @nh,48,8 6"
"""A TCP segment without IP options or extension headers. Said in bytes, as all that is common: the kernel compares four
bytes in 2.5 ns, and takes 9 to ask conntrack for a mark (measured, 40 rules in a row)."""

COMMON_EMPTY: Final = (f"@nh,16,16 52 @th,96,8 0x80 {_TCP4}", f"@nh,32,16 32 @th,96,8 0x80 {_TCP6}")
"""Nearly all of them, for each IP version: with a time stamp (RFC 7323) and no other option."""

COMMON_SYN: Final = (f"@th,96,16 0xa002 @nh,16,16 60 {_TCP4}", f"@th,96,16 0xa002 @nh,32,16 40 {_TCP6}")
"""Those with the options of every present system, 20 bytes of them, and no payload; ECN's (RFC 3168) are not."""

SHORT: Final = (f"@nh,16,16 & 0xfc00 == 0 {_TCP4}", f"@nh,32,16 & 0xfc00 == 0 {_TCP6}")
"""Segments whose IP header gives a length below 1,024."""

COMMON_DATA: Final = (
    f"@th,104,8 & 0x1e == 0x18 @nh,16,16 & 0xf800 == 0 {_TCP4}",
    f"@th,104,8 & 0x1e == 0x18 @nh,32,16 & 0xf800 == 0 {_TCP6}",
)
"""Segments that end what was written at once: PSH and ACK, neither SYN nor RST; their IP header gives a length below
2,048. Nobody sends these without payload."""

PLAIN: Final = ("@nh,0,8 0x45", "ip6 nexthdr tcp")
"""No options and no extension headers, for each IP version: a copy is found by its ends."""
FLAGS: Final = {"syn": SYN, "rst": RST, "fin": FIN}
IS_SYN: Final = "tcp flags & (fin | syn | rst | ack) == syn"
RENEWING: Final = "tcp flags & (syn | rst)"
"""Not 0 in segments at which a box may lose count (`TcpReading`)."""
IS_NO_SYN: Final = "@th,104,8 & 0x17 != 0x2"
"""Of a packet that is a TCP segment."""


def flags_among(wanted: Mapping[str, int]) -> str:
    """Of a packet that is a TCP segment: each of these flags is set (1) or not (0)."""
    bits = {**FLAGS, "ack": ACK}
    mask, values = (
        sum(bits[name] for name in wanted),
        sum(bits[name] for name, value in wanted.items() if value),
    )
    return f"@th,104,8 & {mask:#x} == {values:#x}"


def packet_mark(bits: int) -> str:
    return f"meta mark set meta mark | {bits:#x}"


def connection_mark(bits: int, mask: int) -> str:
    """Of the bits of the mask, these are set and the others are not."""
    return f"ct mark set ct mark & {~mask & 0xFFFFFFFF:#x} | {bits:#x}"


def listed(ports: Ports) -> str:
    return "{ " + ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in ports) + " }"
