"""The fields a filter can name, and that they say of themselves what is true."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from middlebox.dissect import ALL_FIELDS, Fields, field_group
from middlebox.filters import BUILT_IN, Origin, compile_filter
from middlebox.filters.fields import INSTEAD, OVER_IP, OVER_TCP, OVER_TCP_OR_UDP, OVER_UDP
from middlebox.flow import Direction, Side
from middlebox.packet import SYN, Packet, ip_header
from tests.unit.filter_kit import Flow, decoded, matches, tcp, udp


def icmp(*, version: int) -> Packet:
    """An echo request."""
    kind, protocol, text = (8, 1, "192.0.2.11") if version == 4 else (128, 58, "2001:db8::1")
    address, body = ip_address(text).packed, bytes((kind, 0, 0, 0, 0, 1, 0, 1))
    head = ip_header(address, address, protocol, len(body), ttl=64, ip_id=0, dont_fragment=False, tos=0)
    return decoded(head + body)


PACKETS = {
    "empty tcp": tcp(),
    "tcp": tcp(b"GET /", flags=SYN, options=b"\1\1\1\1"),
    "tcp over ipv6": tcp(b"GET /", src="2001:db8::1", dst="2001:db8::2", options=b"\1\1\1\1"),
    "empty udp": udp(),
    "udp": udp(b"GET /"),
    "icmp": icmp(version=4),
    "icmpv6": icmp(version=6),
}
WITH_PAYLOAD = {"tcp", "tcp over ipv6", "udp"}
CARRIERS = {
    "frame": set(PACKETS),
    "ip.version": set(PACKETS),  # Wireshark gives it to IPv6 too, beside ipv6.version
    "ip": {"empty tcp", "tcp", "empty udp", "udp", "icmp"},
    "ipv6": {"tcp over ipv6", "icmpv6"},
    "icmp": {"icmp"},
    "icmpv6": {"icmpv6"},
    "tcp": {"empty tcp", "tcp", "tcp over ipv6"},
    "tcp.options": {"tcp", "tcp over ipv6"},
    "tcp.payload": {"tcp", "tcp over ipv6"},
    "udp": {"empty udp", "udp"},
    "udp.payload": {"udp"},
    "payload": WITH_PAYLOAD,
    "flow": set(PACKETS),
    "box": set(PACKETS),
    "subscriber": set(PACKETS),
}
"""First word of a name, or the whole name -> the packets that have the field."""


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_field_can_be_asked_for(name: str) -> None:
    """A name in the table compiles, and is found in the packets that have it and in no others."""
    compiled = compile_filter(name)
    flow = Flow(marks=frozenset({"seen"}))
    found = {kind for kind, packet in PACKETS.items() if compiled.matches(packet, flow, {})}
    assert found == CARRIERS.get(name, CARRIERS[name.partition(".")[0]])


@pytest.mark.parametrize("name", ALL_FIELDS)
def test_every_dissected_field_can_be_asked_for(name: str) -> None:
    """It is there when the dissector found it, needs that dissector, and may come while its group is alive."""
    compiled = compile_filter(name)
    protocol = name.partition(".")[0]
    packet = tcp(b"x") if protocol in OVER_TCP | OVER_TCP_OR_UDP else udp(b"x")
    packet.protocol, *_ = OVER_IP.get(protocol, (packet.protocol,))
    assert compiled.matches(packet, Flow(), {name: [True]})
    assert not compiled.matches(packet, Flow(), {})
    assert protocol in compiled.needs.protocols
    sender = ALL_FIELDS[name].sent_by or Direction.CLIENT_TO_SERVER
    flow = Flow(direction=sender)
    assert compiled.may_match(packet, flow, frozenset({field_group(name)}))
    assert not compiled.may_match(packet, flow, frozenset())


def test_every_dissector_is_known_by_what_carries_it() -> None:
    """A protocol that is not in the lists would be asked of every packet: right, but slow."""
    known = OVER_TCP | OVER_UDP | OVER_TCP_OR_UDP | OVER_IP.keys()
    assert {name.partition(".")[0] for name in ALL_FIELDS} <= known


@pytest.mark.parametrize(
    ("text", "in_quic"),
    [
        ('tls.handshake.extensions_server_name == "a"', False),
        ('tcp and tls.handshake.extensions_server_name == "a"', False),
        ('quic and tls.handshake.extensions_server_name == "a"', True),
        ('udp.srcport > udp.dstport and tls.handshake.extensions_server_name == "a"', True),
    ],
)
def test_hello_in_quic_is_for_filters_that_name_quic_or_udp(text: str, in_quic: bool) -> None:
    """They alone pay for opening Initials; a rule on TLS that names neither means TLS over TCP."""
    compiled = compile_filter(text)
    fields: Fields = {"quic": [True], "tls.handshake.extensions_server_name": ["a"]}
    packet = udp(b"x", sport=50000, dport=443)
    assert compiled.matches(packet, Flow(), fields) is in_quic
    assert compiled.may_match(packet, Flow(), frozenset({"quic", "tls.handshake"})) is in_quic
    assert ("quic" in compiled.needs.protocols) is in_quic
    assert compiled.needs.selectors[0].transport == ("udp" if in_quic else "tcp")


def test_names_with_advice_are_no_fields() -> None:
    """The advice would never be seen."""
    assert not INSTEAD.keys() & (BUILT_IN.keys() | ALL_FIELDS.keys())


def test_own_fields_are_told_from_wiresharks() -> None:
    """A rule with one of them cannot be tried in Wireshark, and says so."""
    own = {name for name, field in BUILT_IN.items() if field.origin is Origin.OWN}
    assert {name.partition(".")[0] for name in own} == {"flow", "box", "subscriber", "payload"}
    assert all(not compile_filter(name).needs.wireshark for name in own)
    assert compile_filter("tcp.port == 80").needs.wireshark


@pytest.mark.parametrize(
    ("text", "flow"),
    [
        ('flow.direction == "server-to-client"', Flow(direction=Direction.SERVER_TO_CLIENT)),
        ('flow.direction != "client-to-server"', Flow(direction=Direction.SERVER_TO_CLIENT)),
        ('box.ingress == "outside"', Flow(ingress=Side.OUTSIDE)),
        ("flow.packets in {5..7}", Flow(packets=6)),
        ("flow.bytes > 1000000", Flow(bytes=1_000_001)),
        ('flow.marks == "seen"', Flow(marks=frozenset({"other", "seen"}))),
        ('flow.marks in {"a", "seen"}', Flow(marks=frozenset({"seen"}))),
        ('flow.marks matches "^se"', Flow(marks=frozenset({"seen"}))),
        ("flow.marks", Flow(marks=frozenset({"seen"}))),
        ('subscriber.name == "sim2"', Flow(subscriber="sim2")),
    ],
)
def test_flow_fields_tell_what_the_engine_knows(text: str, flow: Flow) -> None:
    """True for this flow and not for a fresh one from inside."""
    assert matches(text, tcp(), flow=flow)
    assert not matches(text, tcp())


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ("payload.length == 4", b"abcd"),
        ("payload.popcount == 4", b"\x0f\xf0"),
        ("payload.printable_prefix == 3", b"abc\x00d"),
        ("payload.printable_run == 4", b"ab\x00cdef\x01"),
        ("payload.printable_share == 0.5", b"a\x00b\x01"),
        ("payload.entropy == 1", b"abab"),
    ],
)
def test_payload_measures_are_of_the_bytes_after_the_header(text: str, payload: bytes) -> None:
    """The same over TCP and UDP; without payload there is nothing to measure."""
    assert matches(text, tcp(payload))
    assert matches(text, udp(payload))
    assert not matches(text, tcp())
    assert not matches(text, udp())


def test_transport_fields_are_absent_from_a_later_fragment() -> None:
    """The bytes of a later fragment are no transport header, whatever they look like."""
    packet = tcp(b"GET /")
    fragment = tcp(b"GET /")
    fragment.payload_start, fragment.sport, fragment.dport, fragment.flags = fragment.l4, 0, 0, 0
    for name in (
        "tcp",
        "tcp.flags",
        "tcp.srcport",
        "tcp.flags.syn",
        "tcp.payload",
        "payload.length",
        "tcp.port < 9",
    ):
        assert matches(name, packet) or "<" in name
        assert not matches(name, fragment)
    assert matches("ip.proto == 6", fragment)
