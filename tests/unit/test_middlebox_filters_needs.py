"""What a filter must be shown: ports for the kernel, dissectors, bytes of the stream before."""

from __future__ import annotations

import pytest

from middlebox.filters import Needs, Selector, compile_filter
from middlebox.filters.needs import MAX_SELECTORS
from middlebox.filters.runtime import PATTERN_WINDOW_BYTES
from middlebox.flow import Direction

ANY = Selector("any", None, None, payload_only=False)


def needs(text: str) -> Needs:
    return compile_filter(text).needs


def test_needs_of_the_starttls_rule() -> None:
    """Client's segments with payload to port 587, the SMTP dissector, and it is Wireshark's language."""
    found = needs('tcp.dstport == 587 and smtp.command_line matches "^STARTTLS"')
    assert found.protocols == {"smtp"}
    assert found.fields == {"smtp.command_line"}
    assert found.selectors == (
        Selector("tcp", None, ((587, 587),), payload_only=True, protocols=frozenset({"smtp"})),
    )
    assert found.directions == {Direction.CLIENT_TO_SERVER}
    assert found.window_bytes == 0
    assert found.wireshark


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tcp.dstport == 80", [Selector("tcp", None, ((80, 80),), payload_only=False)]),
        (
            "udp.srcport in {53, 54, 60..70}",
            [Selector("udp", ((53, 54), (60, 70)), None, payload_only=False)],
        ),
        ("tcp.dstport < 1024", [Selector("tcp", None, ((0, 1023),), payload_only=False)]),
        ("tcp.dstport >= 65535", [Selector("tcp", None, ((65535, 65535),), payload_only=False)]),
        ("tcp.dstport != 80", [Selector("tcp", None, ((0, 79), (81, 65535)), payload_only=False)]),
        (
            "tcp.port == 80",
            [
                Selector("tcp", ((80, 80),), None, payload_only=False),
                Selector("tcp", None, ((80, 80),), payload_only=False),
            ],
        ),
        ("all tcp.port == 80", [Selector("tcp", ((80, 80),), ((80, 80),), payload_only=False)]),
        (
            "tcp.srcport > 1023 and tcp.dstport == 80",
            [Selector("tcp", ((1024, 65535),), ((80, 80),), payload_only=False)],
        ),
        ("tcp.dstport > 79 and tcp.dstport < 81", [Selector("tcp", None, ((80, 80),), payload_only=False)]),
        ("tcp.dstport == 80 and udp.dstport == 80", []),
        ("tcp.dstport == 80 and tcp.dstport == 81", []),
        ("tcp.len > 0", [Selector("tcp", None, None, payload_only=True)]),
        ("tcp.len < 10", [Selector("tcp", None, None, payload_only=False)]),
        ('tcp.payload contains "x"', [Selector("tcp", None, None, payload_only=True)]),
        ("payload.entropy > 7", [Selector("any", None, None, payload_only=True)]),
        ("icmp.type == 8", [Selector("other", None, None, payload_only=False)]),
        ("ip.ttl < 5", [ANY]),
        ("not tcp.dstport == 80", [ANY]),
        (
            "tls.handshake.type == 1",
            [Selector("tcp", None, None, payload_only=True, protocols=frozenset({"tls"}))],
        ),
        ("not (not tcp.dstport == 80)", [Selector("tcp", None, ((80, 80),), payload_only=False)]),
        ("not (tcp.dstport == 80 or not tcp)", [Selector("tcp", None, None, payload_only=False)]),
        (
            "tcp.dstport == 1 or udp.dstport == 2",
            [
                Selector("tcp", None, ((1, 1),), payload_only=False),
                Selector("udp", None, ((2, 2),), payload_only=False),
            ],
        ),
    ],
)
def test_selectors_are_as_narrow_as_the_ports_and_transports_written(
    text: str, expected: list[Selector]
) -> None:
    """The kernel keeps from user space what a filter cannot match."""
    assert list(needs(text).selectors) == expected


def test_many_alternatives_become_few_selectors() -> None:
    """Each selector costs the kernel a rule, so many are joined; none of their packets is lost."""
    text = " or ".join(f"(tcp.srcport == {n} and tcp.dstport == {n + 1})" for n in range(1, 101))
    found = needs(text).selectors
    assert len(found) <= MAX_SELECTORS
    assert any(s.src_ports == ((1, 100),) and s.dst_ports == ((2, 101),) for s in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('tcp.payload contains "ultrasurf"', 8),
        ('tcp.payload contains "a"', 0),
        ('udp.payload contains "ultrasurf"', 0),
        ('tcp.payload[0:9] contains "ultrasurf"', 0),
        ('not tcp.payload contains "abc" and tcp.payload contains "ab"', 2),
        ('tcp.payload matches "ultra"', PATTERN_WINDOW_BYTES),
        ('smtp.req.command contains "abc"', 0),
    ],
)
def test_window_is_what_a_match_over_a_border_can_need(text: str, expected: int) -> None:
    """The engine keeps no more of the stream than that."""
    assert needs(text).window_bytes == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smtp.req.command", {Direction.CLIENT_TO_SERVER}),
        ("smtp.response.code == 220", {Direction.SERVER_TO_CLIENT}),
        ("smtp.req.command or smtp.response.code", set(Direction)),
        ("smtp.req.command and smtp.response.code", set()),
        ('flow.direction == "server-to-client" and tcp', {Direction.SERVER_TO_CLIENT}),
        ("tcp.dstport == 80", set(Direction)),
        ("not smtp.req.command", set(Direction)),
    ],
)
def test_directions_are_those_whose_packets_can_match(text: str, expected: set[Direction]) -> None:
    """A dissector may still need the other direction to understand this one."""
    assert needs(text).directions == expected
