"""What generated code does, told by packets; the comparison with tshark is in tests/property."""

from __future__ import annotations

import pytest

from middlebox.filters import compile_filter
from tests.unit.filter_kit import Flow, matches, tcp, udp

SYN, ACK = 0x02, 0x10
COMMANDS = {"smtp.req.command": ["EHLO", "QUIT"]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp.port == 587", True),
        ("tcp.port != 587", False),
        ("tcp.port !== 587", True),
        ("tcp.port === 587", False),
        ("any tcp.port != 587", True),
        ("all tcp.port > 500", True),
        ("all tcp.port > 600", False),
        ("all tcp.port in {587, 40000}", True),
        ("tcp.port not in {587}", False),
        ("udp.port != 53", False),
        ("not udp.port == 53", True),
        ("udp.port not in {53}", True),
    ],
)
def test_field_that_occurs_twice_matches_by_any_or_by_every_value(text: str, expected: bool) -> None:
    """== and < ask for any value, != and === for every one; a field that is not there matches nothing."""
    assert matches(text, tcp(sport=40000, dport=587)) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('smtp.req.command == "QUIT"', True),
        ('smtp.req.command != "QUIT"', False),
        ('smtp.req.command != "HELP"', True),
        ('smtp.req.command !== "QUIT"', True),
        ('all smtp.req.command matches "^.{4}$"', True),
        ('all smtp.req.command contains "E"', False),
        ('smtp.req.command in {"HELO", "EHLO"}', True),
        ('all smtp.req.command in {"QUIT", "EHLO"}', True),
        ("len(smtp.req.command) == 4", True),
        ('lower(smtp.req.command) == "quit"', True),
        ('smtp.req.command[0] == "Q"', True),
        ("smtp.req.command == smtp.req.command", True),
        ("smtp.req.command === smtp.req.command", False),
        ("smtp.response.code", False),
        ("smtp.response.code != 250", False),
        ("not smtp.response.code == 250", True),
        ("all smtp.response.code == 250", False),
    ],
)
def test_dissected_field_matches_by_any_or_by_every_value(text: str, expected: bool) -> None:
    """The same for what a dissector found, and it found nothing of the reply."""
    assert matches(text, tcp(b"x"), COMMANDS) is expected


def test_text_over_a_segment_border_is_seen() -> None:
    """`contains` and `matches` on tcp.payload look at the stream, as far as the engine kept it."""
    packet = tcp(b"rasurf", stream_tail=b"ult")
    assert matches('tcp.payload contains "ultrasurf"', packet)
    assert matches('tcp.payload matches "ULTRA"', packet)
    assert not matches('tcp.payload[0:6] contains "ultrasurf"', packet)
    assert not matches('tcp contains "ultrasurf"', packet)


def test_bytes_behind_the_packet_are_not_its_payload() -> None:
    """Padding after the IP packet is neither found nor measured."""
    packet = tcp(b"abc")
    packet.data += b"PADDING"
    assert not matches('tcp.payload contains "PAD"', packet)
    assert not matches("tcp.payload[3] == 50", packet)
    assert matches('tcp.payload[-1] == "c"', packet)
    assert matches("len(tcp.payload) == 3", packet)


def test_port_of_another_transport_does_not_match() -> None:
    """tcp.dstport is of TCP, whatever stands in the packet first."""
    assert not matches("tcp.dstport == 53", udp(dport=53))
    assert matches("udp.dstport == 53", udp(dport=53))


def test_conditions_are_tried_in_the_order_written() -> None:
    """The first that decides ends it: a rule's author puts what is cheap and telling first."""

    class Untouchable(dict[str, list[int | str | bytes | bool]]):
        def __contains__(self, key: object) -> bool:
            raise AssertionError(f"{key} was looked at")

    text = 'tcp.dstport == 25 and smtp.req.command == "QUIT"'
    assert compile_filter(text).matches(tcp(dport=587), Flow(), Untouchable()) is False
    with pytest.raises(AssertionError, match="was looked at"):
        compile_filter(text).matches(tcp(dport=25), Flow(), Untouchable())


def test_verdict_is_true_or_false_and_nothing_else() -> None:
    """Also where the condition is a number: the engine may compare it."""
    assert matches("tcp.flags.syn == 1", tcp(flags=SYN)) is True
    assert matches("tcp.flags & 2", tcp(flags=ACK)) is False


def test_division_by_a_field_that_is_zero_does_not_match() -> None:
    """There is no quotient to compare."""
    assert not matches("tcp.dstport / tcp.srcport >= 0", tcp(sport=0, dport=80))
    assert matches("tcp.dstport / tcp.srcport == 8", tcp(sport=10, dport=80))


def test_user_text_stays_text_in_generated_code() -> None:
    """Whatever stands in quotes is a constant, never code."""
    for text in ('"', "'", "\\\\", "{x}", "\n#", "')+exit('", '\\"""+exit()'):
        needle = text.replace("\\\\", "\\").replace('"', "\\x22") if text != "\\\\" else text
        assert not matches(f'tcp.payload contains "{needle}"', tcp(b"harmless"))
