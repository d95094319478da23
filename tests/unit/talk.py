"""Conversations with an engine: a rule or two, a box, a TCP connection through it. Not a test."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from middlebox.decision import Decision
from middlebox.engine import Engine
from middlebox.events import Event
from middlebox.filters import compile_filter
from middlebox.flow import Direction, Side
from middlebox.look import Look
from middlebox.packet import Packet, decode, parse_flag_letters, tcp_segment
from middlebox.profile import Deployment, Phase, Placement, Profile, Reset, Rule, TcpReading, Towards
from middlebox.stack import Stack

CLIENT, OTHER, SERVER = bytes([192, 0, 2, 11]), bytes([192, 0, 2, 12]), bytes([203, 0, 113, 25])
SECOND_NS = 1_000_000_000
RESET_BOTH = (Reset(Towards.BOTH, Look()),)


class Talk:
    """One TCP connection through an engine; keeps the sequence numbers of both ends."""

    def __init__(
        self, engine: Engine | Stack, *, client: bytes = CLIENT, port: int = 40000, server_port: int = 587
    ) -> None:
        self.engine = engine
        self.client, self.port, self.server_port = client, port, server_port
        self.seq = {Direction.CLIENT_TO_SERVER: 1000, Direction.SERVER_TO_CLIENT: 5000}
        self.now_ns = 0

    def send(self, direction: Direction, flags: str, payload: bytes = b"", **changes: int) -> Decision:
        ends = {"src": self.client, "dst": SERVER, "sport": self.port, "dport": self.server_port}
        if direction is Direction.SERVER_TO_CLIENT:
            ends = {"src": SERVER, "dst": self.client, "sport": self.server_port, "dport": self.port}
        numbers = {"seq": self.seq[direction], "ack": self.seq[direction.opposite] if "A" in flags else 0}
        data = tcp_segment(
            **ends,
            **(numbers | changes),
            flags=parse_flag_letters(flags),
            window=500,
            ttl=60,
            payload=payload,  # type: ignore[arg-type]
        )
        if "seq" not in changes:
            self.seq[direction] += len(payload) + ("S" in flags) + ("F" in flags)
        ingress = Side.INSIDE if direction is Direction.CLIENT_TO_SERVER else Side.OUTSIDE
        return self.engine.handle(data, self.now_ns, ingress)

    def client_sends(self, payload: bytes = b"", flags: str = "PA", **changes: int) -> Decision:
        return self.send(Direction.CLIENT_TO_SERVER, flags, payload, **changes)

    def server_sends(self, payload: bytes = b"", flags: str = "PA", **changes: int) -> Decision:
        return self.send(Direction.SERVER_TO_CLIENT, flags, payload, **changes)

    def connect(self) -> Talk:
        self.client_sends(flags="S")
        self.server_sends(flags="SA")
        self.client_sends(flags="A")
        return self


def rule(when: str, do: tuple[Any, ...] = RESET_BOTH, name: str = "rule", **more: Any) -> Rule:
    return Rule(name, compile_filter(when), do, **more)


def profile(*rules: Rule, placement: Placement = Placement.ON_PATH, **tcp: Any) -> Profile:
    return Profile("test", "", placement, rules, replace(TcpReading(), **tcp))


def engine_for(*rules: Rule, placement: Placement = Placement.ON_PATH, **tcp: Any) -> Engine:
    deployment = Deployment("test", (Phase(0, profile(*rules, placement=placement, **tcp)),))
    return Engine(deployment, Random(7), 0)


def kinds(decision: Decision) -> list[str]:
    return [event.kind for event in decision.events]


STARTTLS = 'tcp.dstport == 587 and smtp.command_line matches "^STARTTLS"'


def forged(decision: Decision) -> list[Packet]:
    """What was forged, decoded."""
    packets = [decode(one.data) for one in decision.forged]
    assert all(packets)
    return [p for p in packets if p is not None]


def event(decision: Decision, kind: str) -> Event:
    """The one event of this kind."""
    (found,) = [event for event in decision.events if event.kind == kind]
    return found
