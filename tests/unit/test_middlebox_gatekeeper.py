"""What stands between a capture and its engine: each connection is asked about once, and leaves when it is decided."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import pytest

from middlebox.decision import PASS, Decision
from middlebox.engine import Engine
from middlebox.flow import Side
from middlebox.gatekeeper import Gatekeeper
from middlebox.load import load_deployment
from middlebox.packet import ACK, PSH, SYN, tcp_segment

CLIENT, SERVER = ip_address("192.0.2.11").packed, ip_address("203.0.113.25").packed
REDIRECT = """
profile: test
placement: in-path
rules:
  - name: lead
    when: tcp.dstport == 25
    probability: {probability}
    do: [{{redirect: {{to: 203.0.113.26}}}}]
  - name: word
    when: tcp.payload contains "word"
    do: [log]
"""


def gate(tmp_path: Path, *, probability: float = 1.0) -> Gatekeeper:
    """In front of a box that leads port 25 elsewhere and looks for a word."""
    path = tmp_path / "test.yaml"
    path.write_text(REDIRECT.format(probability=probability))
    return Gatekeeper(Engine(load_deployment(path), Random(1), 0))


def segment(flags: int, *, port: int = 25, seq: int = 1, payload: bytes = b"") -> bytes:
    return tcp_segment(
        src=CLIENT, dst=SERVER, sport=40000, dport=port, seq=seq, ack=1, flags=flags, window=500, ttl=60,
        payload=payload,
    )  # fmt: skip


def answer(flags: int) -> bytes:
    return tcp_segment(
        src=SERVER, dst=CLIENT, sport=25, dport=40000, seq=9, ack=2, flags=flags, window=500, ttl=60, payload=b"word"
    )  # fmt: skip


def kinds(decision: Decision) -> list[str]:
    return [event.kind for event in decision.events]


def test_gatekeeper_asks_once_where_a_connection_goes(tmp_path: Path) -> None:
    """At the first packet, not at a SYN that is sent once more; a new connection with the same ports is another one."""
    keeper = gate(tmp_path)
    led = keeper.handle(segment(SYN), 0, Side.INSIDE)
    assert kinds(led) == ["rule_matched", "connection_redirected"]
    assert keeper.handle(segment(SYN), 1, Side.INSIDE) is PASS
    assert kinds(keeper.handle(segment(SYN, seq=100_000), 2, Side.INSIDE)) == kinds(led)


def test_gatekeeper_leaves_alone_what_was_led_elsewhere(tmp_path: Path) -> None:
    """No other rule sees it, in neither direction; the same words on another port are found."""
    keeper = gate(tmp_path)
    keeper.handle(segment(SYN), 0, Side.INSIDE)
    assert keeper.handle(segment(PSH | ACK, seq=2, payload=b"word"), 1, Side.INSIDE) is PASS
    assert keeper.handle(answer(PSH | ACK), 2, Side.OUTSIDE) is PASS
    found = keeper.handle(segment(PSH | ACK, port=26, payload=b"word"), 3, Side.INSIDE)
    assert "rule_matched" in kinds(found)


def test_gatekeeper_shows_what_the_dice_let_pass(tmp_path: Path) -> None:
    """The rule matched and did not act: that is written down, and the other rules have their turn."""
    keeper = gate(tmp_path, probability=0)
    decision = keeper.handle(segment(PSH | ACK, payload=b"word"), 0, Side.INSIDE)
    assert decision.redirect is None
    matched = [event.details for event in decision.events if event.kind == "rule_matched"]
    assert [(details["rule"], details["acted"]) for details in matched] == [("lead", False), ("word", True)]


@pytest.mark.parametrize(
    "data", [b"\x45", b"\x45" + bytes(30), b"\x60" + bytes(20), b"\x60" + bytes(60), b"\x00"]
)
def test_gatekeeper_shows_what_has_no_ports(data: bytes, tmp_path: Path) -> None:
    """Whatever it is, the engine says what becomes of it."""
    shown: list[bytes] = []

    class Watching(Engine):
        def handle(self, data: bytes, *args: Any, **options: Any) -> Decision:
            shown.append(data)
            return super().handle(data, *args, **options)

    keeper = Gatekeeper(Watching(load_deployment("port-25-redirect"), Random(1), 0))
    assert keeper.handle(data, 0, Side.INSIDE).redirect is None
    assert shown == [data]
