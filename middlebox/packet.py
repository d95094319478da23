"""Bytes <-> IPv4 / IPv6 / TCP / UDP headers, and checksums.

`decode` reads in place: a `Packet` keeps the bytes it was given and a handful of numbers, nothing is copied. What
cannot be decoded is None, never an exception. `tcp_segment` builds whole packets for the forger.

A packet is one that the kernel would route: bytes from the IP header on, IPv4 fragments already put together.

Sources: RFC 791, RFC 8200, RFC 9293, RFC 768, RFC 1071.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, NS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0x100
FLAG_LETTERS = "FSRPAUECN"

PROTOCOL_ICMP, PROTOCOL_TCP, PROTOCOL_UDP, PROTOCOL_ICMPV6 = 1, 6, 17, 58

IPV4_HEADER_BYTES = 20
IPV6_HEADER_BYTES = 40
TCP_HEADER_BYTES = 20
UDP_HEADER_BYTES = 8

_IPV6_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})
_IPV6_FRAGMENT = 44
_IPV6_AUTHENTICATION = 51
# RFC 8200 names six extension headers; a chain longer than this is an attack on the parser (chosen).
_MAX_IPV6_EXTENSIONS = 16

_PORTS = Struct("!HH")
_TCP = Struct("!HHIIHH")
_U16 = Struct("!H")


class Packet:
    """One decoded packet. `payload_start <= end <= len(data)`; ports are 0 where the protocol has none.

    Filled in when its stream is read: `stream_tail`, the bytes just before this payload, if a rule looks for text that
    may span two segments; `read_from`, up to where the stream had been read before, None if nobody knows.
    """

    __slots__ = (
        "data", "version", "protocol", "src", "dst", "ttl", "l4", "sport", "dport",
        "seq", "ack", "flags", "window", "payload_start", "end", "stream_tail", "read_from",
    )  # fmt: skip

    data: bytes
    version: int
    protocol: int
    src: bytes
    dst: bytes
    ttl: int
    l4: int
    sport: int
    dport: int
    seq: int
    ack: int
    flags: int
    window: int
    payload_start: int
    end: int
    stream_tail: bytes
    read_from: int | None

    @property
    def payload(self) -> bytes:
        """Bytes after the transport header, may be empty."""
        return self.data[self.payload_start : self.end]

    @property
    def payload_len(self) -> int:
        return self.end - self.payload_start

    @property
    def has_transport_header(self) -> bool:
        """False for later fragments, and for protocols of which no header is read."""
        return self.payload_start > self.l4

    @property
    def segment_len(self) -> int:
        """SEG.LEN of RFC 9293: payload bytes plus one for SYN and one for FIN."""
        return self.end - self.payload_start + bool(self.flags & SYN) + bool(self.flags & FIN)

    @property
    def ip_id(self) -> int | None:
        """The IPv4 identification; IPv6 has none."""
        return _U16.unpack_from(self.data, 4)[0] if self.version == 4 else None

    @property
    def dont_fragment(self) -> bool | None:
        return bool(self.data[6] & 0x40) if self.version == 4 else None

    @property
    def fragment_offset(self) -> int:
        """In units of 8 bytes."""
        return int(_U16.unpack_from(self.data, 6)[0]) & 0x1FFF if self.version == 4 else 0

    @property
    def tos(self) -> int:
        """IPv4 TOS byte or IPv6 traffic class."""
        if self.version == 4:
            return self.data[1]
        return (int(_U16.unpack_from(self.data, 0)[0]) >> 4) & 0xFF

    @property
    def transport_checksum(self) -> int:
        offset = 16 if self.protocol == PROTOCOL_TCP else 6
        return int(_U16.unpack_from(self.data, self.l4 + offset)[0])

    @property
    def urgent_pointer(self) -> int:
        return int(_U16.unpack_from(self.data, self.l4 + 18)[0])

    @property
    def tcp_options(self) -> bytes:
        """Raw option bytes, padding included; empty for a header without options."""
        return self.data[self.l4 + TCP_HEADER_BYTES : self.payload_start]

    def reversed(self) -> Packet:
        """The ends of this packet the other way round, and nothing else: no flags, no payload."""
        back = Packet()
        back.data, back.version, back.protocol, back.ttl, back.l4 = (
            self.data,
            self.version,
            self.protocol,
            0,
            self.l4,
        )
        back.src, back.sport, back.dst, back.dport = self.dst, self.dport, self.src, self.sport
        back.seq = back.ack = back.flags = back.window = 0
        back.payload_start = back.end = self.end
        back.stream_tail, back.read_from = b"", None
        return back


def decode(data: bytes) -> Packet | None:
    """Read the headers of one IP packet; None when they cannot be read.

    A TCP data offset that is too small or points past the end leaves an empty payload, as a stack that does not
    check it would see it; `reading` asks the header itself.
    """
    length = len(data)
    if length < IPV4_HEADER_BYTES:
        return None
    first = data[0]
    p = Packet()
    p.data = data
    p.stream_tail, p.read_from = b"", None
    p.seq = p.ack = p.flags = p.window = p.sport = p.dport = 0
    if first >> 4 == 4:
        p.version = 4
        l4 = (first & 15) << 2
        total = (data[2] << 8) | data[3]
        if l4 < IPV4_HEADER_BYTES or total < l4 or length < l4:
            return None
        p.protocol = data[9]
        p.ttl = data[8]
        p.src = data[12:16]
        p.dst = data[16:20]
        end = total if total < length else length
        if (data[6] & 0x1F) or data[7]:  # a later fragment has no transport header
            p.l4 = p.payload_start = l4
            p.end = end
            return p
        protocol = p.protocol
    elif first >> 4 == 6 and length >= IPV6_HEADER_BYTES:
        p.version = 6
        p.ttl = data[7]
        p.src = data[8:24]
        p.dst = data[24:40]
        total = ((data[4] << 8) | data[5]) + IPV6_HEADER_BYTES
        end = total if IPV6_HEADER_BYTES < total < length else length
        protocol, l4, whole = _skip_ipv6_extensions(data, data[6], end)
        p.protocol = protocol
        if not whole:
            p.l4 = p.payload_start = l4
            p.end = end
            return p
    else:
        return None
    p.l4 = l4
    p.end = end
    if protocol == PROTOCOL_TCP and l4 + TCP_HEADER_BYTES <= end:
        p.sport, p.dport, p.seq, p.ack, offset_flags, p.window = _TCP.unpack_from(data, l4)
        p.flags = offset_flags & 0x1FF
        start = l4 + ((offset_flags >> 10) & 0x3C)
        p.payload_start = start if l4 + TCP_HEADER_BYTES <= start <= end else end
    elif protocol == PROTOCOL_UDP and l4 + UDP_HEADER_BYTES <= end:
        p.sport, p.dport = _PORTS.unpack_from(data, l4)
        p.payload_start = l4 + UDP_HEADER_BYTES
    elif protocol in (PROTOCOL_TCP, PROTOCOL_UDP):
        return None  # cut off within the transport header
    else:
        p.payload_start = l4
    return p


def _skip_ipv6_extensions(data: bytes, next_header: int, end: int) -> tuple[int, int, bool]:
    """(transport protocol, its offset, whether the transport header is in this packet)."""
    offset = IPV6_HEADER_BYTES
    for _ in range(_MAX_IPV6_EXTENSIONS):
        if next_header in _IPV6_EXTENSIONS:
            size = (data[offset + 1] + 1) << 3 if offset + 2 <= end else 0
        elif next_header == _IPV6_AUTHENTICATION:
            size = (data[offset + 1] + 2) << 2 if offset + 2 <= end else 0
        elif next_header == _IPV6_FRAGMENT:
            if offset + 8 > end:
                return next_header, offset, False
            if _U16.unpack_from(data, offset + 2)[0] & 0xFFF8:
                return data[offset], offset + 8, False
            size = 8
        else:
            return next_header, offset, True
        if size == 0 or offset + size > end:
            return next_header, offset, False
        next_header = data[offset]
        offset += size
    return next_header, offset, False


def flag_letters(flags: int) -> str:
    """TCP flags as letters, in the order of the header bits: SYN+ACK is `SA`."""
    return "".join(letter for bit, letter in enumerate(FLAG_LETTERS) if flags >> bit & 1)


def parse_flag_letters(letters: str) -> int:
    """`"RA"` -> RST | ACK. ValueError names the first letter that is none of FSRPAUECN."""
    flags = 0
    for letter in letters.upper():
        bit = FLAG_LETTERS.find(letter)
        if bit < 0:
            raise ValueError(f"expected TCP flag letters out of {FLAG_LETTERS}, got {letter!r}")
        flags |= 1 << bit
    return flags


def tcp_options(p: Packet) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each well-formed TCP option; stops at the first malformed one."""
    raw = p.tcp_options
    at = 0
    while at < len(raw):
        kind = raw[at]
        if kind == 0:
            return
        if kind == 1:
            at += 1
            continue
        if at + 1 >= len(raw) or raw[at + 1] < 2 or at + raw[at + 1] > len(raw):
            return
        yield kind, raw[at + 2 : at + raw[at + 1]]
        at += raw[at + 1]


def ones_complement_sum(data: bytes, start: int = 0) -> int:
    """The folded 16-bit sum of RFC 1071, before the final complement."""
    if len(data) & 1:
        data += b"\0"
    # 2**16 = 1 modulo 65535: the number read big-endian leaves the sum of its 16-bit words as the remainder.
    total = (start + int.from_bytes(data, "big")) % 0xFFFF
    # A sum that is not zero but a multiple of 65535 folds to 65535, not to 0.
    return total or (0xFFFF if start or any(data) else 0)


def transport_checksum(src: bytes, dst: bytes, protocol: int, segment: bytes) -> int:
    """Checksum over pseudo-header and `segment`, whose own checksum field must be zero."""
    pseudo = src + dst + len(segment).to_bytes(4, "big") + protocol.to_bytes(4, "big")
    checksum = ones_complement_sum(pseudo + segment) ^ 0xFFFF
    return 0xFFFF if protocol == PROTOCOL_UDP and checksum == 0 else checksum


def checksum_is_right(p: Packet) -> bool:
    """Whether the TCP or UDP checksum of a whole packet holds."""
    segment = p.data[p.l4 : p.end]
    if p.protocol == PROTOCOL_UDP and p.version == 4 and p.transport_checksum == 0:
        return True
    pseudo = p.src + p.dst + len(segment).to_bytes(4, "big") + p.protocol.to_bytes(4, "big")
    return ones_complement_sum(pseudo + segment) == 0xFFFF


def tcp_segment(
    *,
    src: bytes,
    dst: bytes,
    sport: int,
    dport: int,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    ttl: int,
    ip_id: int = 0,
    dont_fragment: bool = False,
    tos: int = 0,
    options: bytes = b"",
    payload: bytes = b"",
) -> bytes:
    """A whole IPv4 or IPv6 packet (by the length of `src`) with right lengths and checksums.

    `options` is padded to whole words with zeros; `ip_id` and `dont_fragment` mean nothing in IPv6.
    """
    options += b"\0" * (-len(options) % 4)
    words = (TCP_HEADER_BYTES + len(options)) >> 2
    head = _TCP.pack(sport, dport, seq, ack, (words << 12) | flags, window)
    rest = options + payload
    checksum = transport_checksum(src, dst, PROTOCOL_TCP, head + b"\0\0\0\0" + rest)
    segment = head + checksum.to_bytes(2, "big") + b"\0\0" + rest
    head = ip_header(
        src, dst, PROTOCOL_TCP, len(segment), ttl=ttl, ip_id=ip_id, dont_fragment=dont_fragment, tos=tos
    )
    return head + segment


def ip_header(
    src: bytes, dst: bytes, protocol: int, length: int, *, ttl: int, ip_id: int, dont_fragment: bool, tos: int
) -> bytes:
    """The IPv4 or IPv6 header in front of `length` bytes of transport segment."""
    if len(src) == 16:
        return (
            (0x60000000 | tos << 20).to_bytes(4, "big")
            + Struct("!HBB").pack(length, protocol, ttl)
            + src
            + dst
        )
    flags = 0x4000 if dont_fragment else 0
    head = Struct("!BBHHHBB").pack(0x45, tos, IPV4_HEADER_BYTES + length, ip_id, flags, ttl, protocol)
    checksum = ones_complement_sum(head + src + dst) ^ 0xFFFF
    return head + checksum.to_bytes(2, "big") + src + dst


def with_ttl(data: bytes, ttl: int) -> bytes:
    """The same packet with another TTL or hop limit, header checksum redone."""
    if data[0] >> 4 == 6:
        return data[:7] + bytes((ttl,)) + data[8:]
    header_len = (data[0] & 15) << 2
    head = data[:8] + bytes((ttl,)) + data[9:10] + b"\0\0" + data[12:header_len]
    checksum = ones_complement_sum(head) ^ 0xFFFF
    return head[:10] + checksum.to_bytes(2, "big") + head[12:] + data[header_len:]
