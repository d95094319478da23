"""may_match: when a flow can be given up, and when it must not be."""

from __future__ import annotations

import pytest

from middlebox.filters import compile_filter
from middlebox.flow import Direction
from tests.unit.filter_kit import Flow, may_match, tcp, udp

TO_CLIENT = Flow(direction=Direction.SERVER_TO_CLIENT)
STARTTLS = 'tcp.dstport == 587 and smtp.command_line matches "^STARTTLS"'


def test_flow_to_another_port_is_given_up_at_once() -> None:
    """Ports never change within a flow."""
    assert may_match(STARTTLS, tcp(dport=587), "smtp")
    assert not may_match(STARTTLS, tcp(dport=25), "smtp")
    assert not may_match(STARTTLS, udp(dport=587), "smtp")


def test_flow_is_given_up_when_its_dissector_is_done() -> None:
    """A field whose group is not alive cannot come any more."""
    assert not may_match(STARTTLS, tcp(dport=587))
    assert not may_match(STARTTLS, tcp(dport=587), "tls")
    assert not may_match("tls.handshake.type == 1", tcp(), "tls")
    assert may_match("tls.handshake.type == 1", tcp(), "tls", "tls.handshake")
    assert may_match("tls.record.version == 0x0301", tcp(), "tls")


def test_direction_that_never_sends_a_field_is_given_up() -> None:
    """Servers send no commands, clients no replies."""
    assert not may_match("smtp.req.command", tcp(), "smtp", flow=TO_CLIENT)
    assert may_match("smtp.response.code == 220", tcp(), "smtp", flow=TO_CLIENT)
    assert not may_match("smtp.response.code == 220", tcp(), "smtp")


def test_absence_of_a_field_can_always_match() -> None:
    """`not` turns never into always."""
    assert may_match("not smtp.req.command", tcp())
    assert may_match('not smtp.req.command == "QUIT"', tcp())
    assert not may_match("not ip.version == 4", tcp())


@pytest.mark.parametrize(
    "text", ["ip.ttl == 3", "tcp.flags.reset == 1", 'tcp.payload contains "x"', "tcp.seq_raw == 5"]
)
def test_what_differs_from_packet_to_packet_can_always_match(text: str) -> None:
    """Whatever this packet says of it."""
    assert may_match(text, tcp())
    assert may_match(f"not {text}", tcp())
    assert not may_match(f"{text} and tcp.dstport == 1", tcp())
    assert may_match(f"{text} or tcp.dstport == 1", tcp())


def test_addresses_sides_and_subscribers_are_constants() -> None:
    """They are what tells one flow from another."""
    assert may_match("ip.addr == 192.0.2.0/24", tcp())
    assert not may_match("ip.addr == 10.0.0.0/8", tcp())
    assert not may_match("ipv6.src == ::/0", tcp())
    assert not may_match('box.ingress == "outside"', tcp())
    assert not may_match('subscriber.name == "sim2"', tcp())
    assert may_match('subscriber.name == "sim1"', tcp())


@pytest.mark.parametrize(
    ("text", "possible"),
    [
        ("flow.packets < 10", False),
        ("flow.packets <= 10", True),
        ("flow.packets == 10", True),
        ("flow.packets == 9", False),
        ("flow.packets in {1..9}", False),
        ("flow.packets in {1..9, 50}", True),
        ("flow.packets > 10", True),
        ("flow.packets != 10", True),
        ("not flow.packets > 9", False),
        ("not flow.packets >= 11", True),
        ("not flow.packets != 9", False),
        ("not flow.packets < 10", True),
        ("flow.packets % 2 == 0", True),
        ("flow.packets", True),
        ("not flow.packets", True),
    ],
)
def test_counter_only_grows(text: str, possible: bool) -> None:
    """A rule about the first packets of a flow is over when they are."""
    assert may_match(text, tcp(), flow=Flow(packets=10)) is possible


def test_marks_may_come_at_any_time() -> None:
    """Another rule, or another flow of the host, can set one."""
    assert may_match('flow.marks == "seen"', tcp())
    assert may_match('not flow.marks == "seen"', tcp(), flow=Flow(marks=frozenset({"seen"})))


def test_first_segment_decides_as_well_as_a_fragment_of_the_flow() -> None:
    """A packet without transport header still belongs to TCP: later ones can match."""
    fragment = tcp(b"abc")
    fragment.payload_start, fragment.sport, fragment.dport = fragment.l4, 0, 0
    assert may_match("tcp.flags.syn == 1", fragment)
    assert may_match("tcp", fragment)


def test_verdict_is_true_or_false_and_nothing_else() -> None:
    """The engine counts on it."""
    assert compile_filter("tcp").may_match(tcp(), Flow(), frozenset()) is True
    assert compile_filter("udp").may_match(tcp(), Flow(), frozenset()) is False
