"""The fields a filter can name, and that they say of themselves what is true."""

from __future__ import annotations

import pytest

from middlebox.dissect import ALL_FIELDS, Fields, field_group
from middlebox.filters import BUILT_IN, Origin, compile_filter
from middlebox.filters.fields import INSTEAD, OVER_IP, OVER_TCP, OVER_TCP_OR_UDP, OVER_UDP
from middlebox.flow import Direction, Side
from tests.unit.filter_kit import Flow, matches, tcp, udp

SYN = 0x02


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_built_in_field_can_be_asked_for(name: str) -> None:
    """A name in the table compiles, and reading it from a packet with or without it does not raise."""
    compiled = compile_filter(name)
    for packet in (tcp(), tcp(b"GET /", flags=SYN), udp(b"\0"), udp()):
        compiled.matches(packet, Flow(), {})


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
