"""What the tests of filters share: a flow to look at, packets by what matters, a filter's verdict in one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address

from middlebox.dissect import Fields
from middlebox.filters import FilterError, compile_filter
from middlebox.flow import Direction, Side
from middlebox.packet import ACK, PSH, Packet, decode, ip_header, tcp_segment


@dataclass
class Flow:
    """A FlowView for tests."""

    direction: Direction = Direction.CLIENT_TO_SERVER
    ingress: Side = Side.INSIDE
    packets: int = 1
    bytes: int = 40
    data_packets: int = 1
    marks: frozenset[str] = field(default_factory=frozenset)
    subscriber: str = "sim1"
    subscriber_bytes: int = 1000
    subscriber_quota: int = 5000


def tcp(
    payload: bytes = b"",
    *,
    src: str = "192.0.2.11",
    dst: str = "203.0.113.25",
    sport: int = 40000,
    dport: int = 587,
    flags: int = ACK | PSH,
    ttl: int = 64,
    options: bytes = b"",
    stream_tail: bytes = b"",
) -> Packet:
    """A decoded TCP segment, IPv4 or IPv6 by its addresses."""
    data = tcp_segment(
        src=ip_address(src).packed, dst=ip_address(dst).packed, sport=sport, dport=dport, seq=1000, ack=2000,
        flags=flags, window=512, ttl=ttl, options=options, payload=payload,
    )  # fmt: skip
    return decoded(data, stream_tail)


def udp(payload: bytes = b"", *, sport: int = 40000, dport: int = 53) -> Packet:
    """A decoded UDP datagram over IPv4."""
    datagram = b"".join(n.to_bytes(2, "big") for n in (sport, dport, 8 + len(payload), 0)) + payload
    src, dst = ip_address("192.0.2.11").packed, ip_address("203.0.113.53").packed
    return decoded(
        ip_header(src, dst, 17, len(datagram), ttl=64, ip_id=0, dont_fragment=False, tos=0) + datagram
    )


def decoded(data: bytes, stream_tail: bytes = b"") -> Packet:
    packet = decode(data)
    assert packet is not None
    packet.stream_tail = stream_tail
    return packet


def matches(text: str, packet: Packet, fields: Fields | None = None, flow: Flow | None = None) -> bool:
    return compile_filter(text).matches(packet, flow or Flow(), fields or {})


def may_match(text: str, packet: Packet, *alive: str, flow: Flow | None = None) -> bool:
    return compile_filter(text).may_match(packet, flow or Flow(), frozenset(alive))


def error_of(text: str) -> FilterError:
    """The error that a filter must have."""
    try:
        compile_filter(text)
    except FilterError as error:
        return error
    raise AssertionError(f"expected an error, got a filter: {text}")
