"""The fields a filter can name: headers, values of our own, and what the dissectors find.

Header fields carry Wireshark's names and meanings. A `Field` says how generated code reads it: `p` is the Packet,
`flow` the FlowView, `fields` what the dissectors found in this packet.

Never here: how a protocol is dissected (middlebox/dissect), how code is put together (codegen.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from middlebox.flow import Direction, Side

NO_QUOTA = (1 << 63) - 1
"""More than any counter comes to."""


class Type(Enum):
    """What a value is; the word is how messages call it."""

    NUMBER = "a number"
    REAL = "a decimal number"
    BOOL = "a boolean (0, 1, True, False)"
    TEXT = "text in double quotes"
    BYTES = "bytes such as 16:03:01 or text in double quotes"
    IPV4 = "an IPv4 address or prefix"
    IPV6 = "an IPv6 address or prefix"
    CHOICE = "one of the words"


class Origin(Enum):
    HEADER = "header"
    OWN = "own"
    DISSECTED = "dissected"


class FlowView(Protocol):
    """What a filter asks of the flow that a packet belongs to. The counters include the packet itself."""

    @property
    def direction(self) -> Direction:
        """Of this packet."""

    @property
    def ingress(self) -> Side:
        """The side of the box that this packet came in from."""

    @property
    def packets(self) -> int:
        """In both directions."""

    @property
    def bytes(self) -> int:
        """IP packets in both directions, headers included."""

    @property
    def data_packets(self) -> int:
        """With payload, in the direction of this packet."""

    @property
    def marks(self) -> frozenset[str]:
        """Set by the action `mark`."""

    @property
    def subscriber_bytes(self) -> int:
        """IP packets of the inside host in all its flows, both directions."""

    @property
    def subscriber_quota(self) -> int:
        """How many of them it may use; NO_QUOTA if the deployment sets none."""

    @property
    def subscriber(self) -> str:
        """Name of the inside host, empty if the profile names none."""


class FieldSpecLike(Protocol):
    """The part of dissect.FieldSpec that is used here."""

    @property
    def type(self) -> Enum: ...

    @property
    def sent_by(self) -> Direction | None: ...

    @property
    def description(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Presence:
    """Python conditions for a field to be there.

    `same` ones hold for every packet of a flow and direction or for none, `varying` ones may differ.
    """

    same: tuple[str, ...] = ()
    varying: tuple[str, ...] = ()
    transport: str = "any"

    def and_also(self, condition: str) -> Presence:
        return replace(self, varying=(*self.varying, condition))


ALWAYS = Presence()
_V4 = Presence(("p.version == 4",))
_V6 = Presence(("p.version == 6",))
# A later fragment has no transport header: decode() leaves its payload at l4.
_HAS_HEADER = "p.payload_start > p.l4"
_HAS_PAYLOAD = "p.end > p.payload_start"
_TCP = Presence(("p.protocol == 6",), (_HAS_HEADER,), "tcp")
_UDP = Presence(("p.protocol == 17",), (_HAS_HEADER,), "udp")
_ICMP = Presence(
    ("p.protocol == 1", "p.version == 4"), ("p.end > p.l4 + 3", "not p.fragment_offset"), "other"
)
_ICMPV6 = Presence(("p.protocol == 58", "p.version == 6"), ("p.end > p.l4 + 3",), "other")
_TCP_OPTIONS = _TCP.and_also("(p.data[p.l4 + 12] >> 4) * 4 == p.payload_start - p.l4 > 20")
_TCP_PAYLOAD, _UDP_PAYLOAD = _TCP.and_also(_HAS_PAYLOAD), _UDP.and_also(_HAS_PAYLOAD)
_ANY_PAYLOAD = Presence((), (_HAS_HEADER, _HAS_PAYLOAD))


@dataclass(frozen=True, slots=True)
class Field:
    """One name and how to read it.

    `items` are expressions, one for each occurrence; or `span` bounds a part of `p.data`; or `many` is an iterable
    of the values. `header`: what slices and len() see of a protocol, when that is less than its `span`, where
    `contains` and `matches` look. `per_flow`: the values are the same for every packet of a flow and direction.
    `zero_if_absent`: the expression gives 0 when the header is not there, so a comparison that 0 fails needs no
    `varying` check.
    `grows`: later values are never smaller. `with_payload`: only packets with transport payload have it.
    """

    name: str
    type: Type
    description: str
    where: Presence = ALWAYS
    origin: Origin = Origin.HEADER
    items: tuple[str, ...] = ()
    span: tuple[str, str] | None = None
    header: tuple[str, str] | None = None
    many: str = ""
    maximum: int = 0xFFFFFFFF
    per_flow: bool = False
    zero_if_absent: bool = False
    grows: bool = False
    with_payload: bool = False
    group: str = ""
    sent_by: Direction | None = None
    choices: Mapping[str, int] = field(default_factory=dict)


def _number(name: str, expression: str, bits: int, description: str, where: Presence = ALWAYS) -> Field:
    return Field(name, Type.NUMBER, description, where, items=(expression,), maximum=(1 << bits) - 1)


def _ports(protocol: str, where: Presence) -> list[Field]:
    return [
        Field(
            f"{protocol}.{name}", Type.NUMBER, description, where,
            items=items, maximum=0xFFFF, per_flow=True, zero_if_absent=True,
        )
        for name, items, description in (
            ("srcport", ("p.sport",), "source port"),
            ("dstport", ("p.dport",), "destination port"),
            ("port", ("p.sport", "p.dport"), "source and destination port"),
        )
    ]  # fmt: skip


def _flag(name: str, expression: str, description: str, where: Presence) -> Field:
    return Field(name, Type.BOOL, description, where, items=(expression,))


def _span(
    name: str, start: str, end: str, description: str, where: Presence = ALWAYS, header_end: str = ""
) -> Field:
    header = (start, header_end) if header_end else None
    return Field(name, Type.BYTES, description, where, span=(start, end), header=header)


def _payload(name: str, description: str, where: Presence) -> Field:
    return Field(name, Type.BYTES, description, where, span=("p.payload_start", "p.end"), with_payload=True)


def _addresses(protocol: str, kind: Type, where: Presence) -> list[Field]:
    return [
        Field(f"{protocol}.{name}", kind, description, where, items=items, per_flow=True)
        for name, items, description in (
            ("src", ("p.src",), "source address"),
            ("dst", ("p.dst",), "destination address"),
            ("addr", ("p.src", "p.dst"), "source and destination address"),
        )
    ]


def _u16(at: str) -> str:
    return f"(p.data[{at}] << 8 | p.data[{at} + 1])"


def _ip_fields() -> list[Field]:
    return [
        _span("frame", "0", "len(p.data)", "the whole packet, from the IP header on"),
        _number("frame.len", "len(p.data)", 32, "bytes of the packet, from the IP header on"),
        _span(
            "ip", "0", "p.end", "an IPv4 packet; [ ] and len() see its header", _V4, "(p.data[0] & 15) * 4"
        ),
        replace(_number("ip.version", "p.version", 8, "4 or 6"), per_flow=True),
        _number("ip.hdr_len", "(p.data[0] & 15) << 2", 8, "bytes of the IPv4 header", _V4),
        _number("ip.dsfield", "p.data[1]", 8, "the former TOS byte", _V4),
        _number("ip.dsfield.dscp", "p.data[1] >> 2", 8, "differentiated services code point", _V4),
        _number("ip.dsfield.ecn", "p.data[1] & 3", 8, "explicit congestion notification", _V4),
        _number("ip.len", _u16("2"), 16, "total length as the header says", _V4),
        _number("ip.id", _u16("4"), 16, "identification", _V4),
        _number("ip.flags", "p.data[6] >> 5", 8, "the three flag bits", _V4),
        _flag("ip.flags.rb", "p.data[6] & 128", "reserved bit", _V4),
        _flag("ip.flags.df", "p.data[6] & 64", "don't fragment", _V4),
        _flag("ip.flags.mf", "p.data[6] & 32", "more fragments", _V4),
        _number("ip.frag_offset", f"{_u16('6')} & 0x1fff", 16, "in units of 8 bytes", _V4),
        _number("ip.ttl", "p.ttl", 8, "time to live", _V4),
        replace(_number("ip.proto", "p.protocol", 8, "transport protocol", _V4), per_flow=True),
        _number("ip.checksum", _u16("10"), 16, "header checksum", _V4),
        *_addresses("ip", Type.IPV4, _V4),
        _span("ipv6", "0", "p.end", "an IPv6 packet; [ ] and len() see its header", _V6, "40"),
        replace(_number("ipv6.version", "p.version", 8, "6", _V6), per_flow=True),
        _number("ipv6.tclass", f"{_u16('0')} >> 4 & 255", 32, "traffic class", _V6),
        _number("ipv6.flow", 'int.from_bytes(p.data[1:4], "big") & 0xfffff', 32, "flow label", _V6),
        _number("ipv6.plen", _u16("4"), 16, "payload length as the header says", _V6),
        _number("ipv6.nxt", "p.data[6]", 8, "next header of the main header", _V6),
        _number("ipv6.hlim", "p.ttl", 8, "hop limit", _V6),
        *_addresses("ipv6", Type.IPV6, _V6),
        _span("icmp", "p.l4", "p.end", "an ICMP message", _ICMP),
        _number("icmp.type", "p.data[p.l4]", 8, "message type", _ICMP),
        _number("icmp.code", "p.data[p.l4 + 1]", 8, "message code", _ICMP),
        _span("icmpv6", "p.l4", "p.end", "an ICMPv6 message", _ICMPV6),
        _number("icmpv6.type", "p.data[p.l4]", 8, "message type", _ICMPV6),
        _number("icmpv6.code", "p.data[p.l4 + 1]", 8, "message code", _ICMPV6),
    ]


def _transport_fields() -> list[Field]:
    flags = [
        _flag(f"tcp.flags.{name}", f"p.flags & {bit}", f"the {name.upper()} bit", _TCP)
        for name, bit in (
            ("fin", 1), ("syn", 2), ("reset", 4), ("push", 8), ("ack", 16), ("urg", 32), ("ece", 64), ("cwr", 128),
            ("ae", 256),
        )
    ]  # fmt: skip
    return [
        _span("tcp", "p.l4", "p.end", "a TCP segment with its header", _TCP),
        *_ports("tcp", _TCP),
        _number("tcp.seq_raw", "p.seq", 32, "sequence number as on the wire", _TCP),
        _number("tcp.ack_raw", "p.ack", 32, "acknowledgment number as on the wire", _TCP),
        _number("tcp.len", "p.end - p.payload_start", 32, "bytes of payload", _TCP),
        _number("tcp.hdr_len", "p.data[p.l4 + 12] >> 4 << 2", 8, "bytes of the header", _TCP),
        _number(
            "tcp.flags",
            "(p.data[p.l4 + 12] & 15) << 8 | p.data[p.l4 + 13]",
            16,
            "all twelve flag bits",
            _TCP,
        ),
        _flag("tcp.flags.res", "p.data[p.l4 + 12] & 14", "any of the reserved bits", _TCP),
        *flags,
        _number("tcp.window_size_value", "p.window", 16, "window as on the wire, not scaled", _TCP),
        _number("tcp.checksum", "p.transport_checksum", 16, "checksum as on the wire", _TCP),
        _number("tcp.urgent_pointer", "p.urgent_pointer", 16, "urgent pointer", _TCP),
        _span(
            "tcp.options",
            "p.l4 + 20",
            "p.payload_start",
            "all option bytes",
            _TCP_OPTIONS,
        ),
        _payload("tcp.payload", "`contains` and `matches` see across segments", _TCP_PAYLOAD),
        _span("udp", "p.l4", "p.end", "a UDP datagram; [ ] and len() see its header", _UDP, "p.l4 + 8"),
        *_ports("udp", _UDP),
        _number("udp.length", _u16("p.l4 + 4"), 16, "length as the header says", _UDP),
        _number("udp.checksum", "p.transport_checksum", 16, "checksum as on the wire", _UDP),
        _payload("udp.payload", "bytes after the header", _UDP_PAYLOAD),
    ]


def _own_fields() -> list[Field]:
    def flow_constant(name: str, kind: Type, item: str, description: str, words: Mapping[str, int]) -> Field:
        return Field(name, kind, description, ALWAYS, Origin.OWN, items=(item,), per_flow=True, choices=words)

    def counter(name: str, description: str, item: str = "") -> Field:
        return Field(
            name,
            Type.NUMBER,
            description,
            ALWAYS,
            Origin.OWN,
            items=(item or name,),
            maximum=NO_QUOTA,
            grows=True,
        )

    def measure(name: str, kind: Type, item: str, description: str) -> Field:
        return Field(
            f"payload.{name}", kind, description, _ANY_PAYLOAD, Origin.OWN, items=(item,), with_payload=True
        )

    directions = {direction.word: int(direction) for direction in Direction}
    sides = {side.word: int(side) for side in Side}
    return [
        flow_constant("flow.direction", Type.CHOICE, "flow.direction", "which end sent the packet", directions),
        flow_constant("box.ingress", Type.CHOICE, "flow.ingress", "side of the box it came in from", sides),
        flow_constant("subscriber.name", Type.TEXT, "flow.subscriber", "empty if the profile names none", {}),
        counter("subscriber.bytes", "bytes of the subscriber's packets in all flows so far", "flow.subscriber_bytes"),
        Field(
            "subscriber.quota", Type.NUMBER, "how many bytes the subscriber may use, very many if nobody has set it",
            ALWAYS, Origin.OWN, items=("flow.subscriber_quota",), maximum=NO_QUOTA, per_flow=True,
        ),
        counter("flow.packets", "packets of the flow in both directions so far, this one included"),
        counter("flow.bytes", "bytes of those packets, IP headers included"),
        counter("flow.data_packets", "packets with payload sent by this end so far, this one included"),
        Field(
            "flow.marks", Type.TEXT, "marks set by the action `mark`, any of them", ALWAYS, Origin.OWN,
            many="flow.marks",
        ),
        measure("length", Type.NUMBER, "p.end - p.payload_start", "bytes of TCP or UDP payload, if any"),
        measure("record_length", Type.NUMBER, "record_length(p.payload)", "what would be the length of a TLS record"),
        measure("popcount", Type.REAL, "mean_popcount(p.payload)", "mean number of bits set in a byte, 0 to 8"),
        measure("entropy", Type.REAL, "entropy(p.payload)", "Shannon entropy in bits a byte, 0 to 8"),
        measure("printable_share", Type.REAL, "printable_share(p.payload)", "share of printable ASCII, 0 to 1"),
        measure("printable_prefix", Type.NUMBER, "printable_prefix(p.payload)", "printable ASCII bytes at the start"),
        measure("printable_run", Type.NUMBER, "printable_run(p.payload)", "longest run of printable ASCII bytes"),
    ]  # fmt: skip


BUILT_IN: Mapping[str, Field] = {f.name: f for f in (*_ip_fields(), *_transport_fields(), *_own_fields())}

# Wireshark names that a box cannot or should not read, and what to write instead.
INSTEAD: Mapping[str, str] = {
    "tcp.seq": "write tcp.seq_raw: relative numbers are only known to whom saw the SYN",
    "tcp.ack": "write tcp.ack_raw: relative numbers are only known to whom saw the SYN",
    "tcp.window_size": "write tcp.window_size_value, the window before scaling",
    "tcp.flags.rst": "write tcp.flags.reset",
    "tcp.flags.psh": "write tcp.flags.push",
    "tcp.flags.ns": "write tcp.flags.ae, its name since Wireshark 4.0",
    "tcp.stream": "write ports or addresses: stream numbers belong to a capture",
    "frame.number": "write flow.packets: frame numbers belong to a capture",
    "ssl": "write tls",
}

# Where each dissected protocol is found. TLS is found in QUIC by filters that name quic or udp: they alone pay for
# opening Initials.
OVER_TCP = frozenset({"smtp", "imap", "pop", "tls", "http", "ssh", "bittorrent", "socks", "pptp"})
OVER_UDP = frozenset({"quic", "wg", "isakmp", "l2tp"})
OVER_TCP_OR_UDP = frozenset({"dns", "openvpn"})
# Protocol numbers. ESP may also be in UDP, on port 4500.
OVER_IP = {"gre": (47,), "esp": (50, 17)}


def _carrier(protocol: str, *, in_quic: bool) -> Presence:
    """What a packet must be to carry a dissected protocol."""
    if protocol in OVER_IP:
        numbers = OVER_IP[protocol]
        return Presence((f"p.protocol in {numbers}",), (), "other" if len(numbers) == 1 else "any")
    if protocol in OVER_TCP_OR_UDP or protocol == "tls" and in_quic:
        return Presence(("p.protocol in (6, 17)",))
    if protocol in OVER_UDP:
        return Presence(_UDP.same, (), "udp")
    return Presence(_TCP.same, (), "tcp") if protocol in OVER_TCP else ALWAYS


def dissected_field(name: str, spec: FieldSpecLike, group: str, *, in_quic: bool = False) -> Field:
    """A dissector's field as the compiler sees it. `in_quic`: handshake fields may stand in QUIC as well."""
    kinds = {"UINT": Type.NUMBER, "STRING": Type.TEXT}
    protocol = group.partition(".")[0]
    carrier = _carrier(protocol, in_quic=in_quic).and_also(f"{name!r} in fields")
    if protocol == "tls" and not in_quic:
        carrier = carrier.and_also("p.protocol == 6")
    return Field(
        name,
        kinds.get(spec.type.name) or Type[spec.type.name],
        spec.description,
        carrier,
        Origin.DISSECTED,
        many=f"fields[{name!r}]",
        maximum=(1 << 64) - 1,
        with_payload=protocol not in OVER_IP,
        group=group,
        sent_by=spec.sent_by,
    )
