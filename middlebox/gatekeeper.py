"""What the kernel of a live box does around the engine, done for captures: connections are remembered, each is asked
about once where it goes, and what was led elsewhere or let go is kept from the engine.

Counterpart of `kernel`, which has iptables and conntrack do it. It must never judge a packet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from middlebox.decision import PASS, Decision, Offload
from middlebox.engine import Engine
from middlebox.flow import Side
from middlebox.packet import ACK, PROTOCOL_TCP, PROTOCOL_UDP, SYN

CONNECTIONS_REMEMBERED: Final = 1 << 20
"""The oldest is forgotten, and taken for a new one (chosen)."""


class _Connection:
    """What conntrack and its mark would hold. syn: the sequence number of the SYN that began it, as bytes.

    let_go: the engine's generation in which it did not want to see more of it, 0 for none
    """

    __slots__ = ("syn", "asked", "led_elsewhere", "let_go")

    def __init__(self, syn: bytes) -> None:
        self.syn = syn
        self.asked = self.led_elsewhere = False
        self.let_go = 0


class Gatekeeper:
    """In front of an engine whose packets come from a capture."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connections: dict[bytes, _Connection] = {}

    def handle(self, data: bytes, now_ns: int, ingress: Side) -> Decision:
        """As `Engine.handle`, of a packet that the engine may never be shown."""
        connection = self._connection_of(data)
        if connection is None:
            return self._engine.handle(data, now_ns, ingress)
        led = PASS
        if not connection.asked:
            connection.asked = True
            led = self._engine.lead(data, now_ns, ingress)
            connection.led_elsewhere = led.redirect is not None
        if connection.led_elsewhere or connection.let_go == self._engine.generation:
            return led
        decision = self._engine.handle(data, now_ns, ingress)
        if decision.offload is Offload.PASS:
            connection.let_go = self._engine.generation
        return decision if led is PASS else replace(decision, events=led.events + decision.events)

    def _connection_of(self, data: bytes) -> _Connection | None:
        """The connection that a packet belongs to, perhaps by beginning it; None where it has no ports."""
        name = _name(data)
        if not name:
            return None
        connection = self._connections.get(name)
        syn = _syn(data)
        if connection is None or (syn and syn != connection.syn):
            connection = self._remember(name, syn)
        elif syn:
            connection.let_go = 0  # sent once more: nothing that was decided still holds
        return connection

    def _remember(self, name: bytes, syn: bytes) -> _Connection:
        connections = self._connections
        turned = _turned(name)
        for known in (name, turned):
            connections.pop(known, None)
        if len(connections) >= 2 * CONNECTIONS_REMEMBERED:
            for oldest in (next(iter(connections)), _turned(next(iter(connections)))):
                connections.pop(oldest, None)
        connection = connections[name] = connections[turned] = _Connection(syn)
        return connection


def _name(data: bytes) -> bytes:
    """Protocol, addresses and ports of a packet without IP options and extension headers; else nothing."""
    first, size = data[0], len(data)
    if first == 0x45 and size >= 24:
        has_ports = data[9] in (PROTOCOL_TCP, PROTOCOL_UDP) and not (data[6] & 0x3F or data[7])
        return data[9:10] + data[12:24] if has_ports else b""
    has_ports = first >> 4 == 6 and size >= 44 and data[6] in (PROTOCOL_TCP, PROTOCOL_UDP)
    return data[6:7] + data[8:44] if has_ports else b""


def _turned(name: bytes) -> bytes:
    """The name of the packets that go the other way."""
    size = (len(name) - 5) // 2
    return name[:1] + name[1 + size : 1 + 2 * size] + name[1 : 1 + size] + name[-2:] + name[-4:-2]


def _syn(data: bytes) -> bytes:
    """The sequence number of a SYN alone, nothing of any other packet that has a name."""
    transport, protocol = (20, data[9]) if data[0] == 0x45 else (40, data[6])
    flags = data[transport + 13 : transport + 14]
    if protocol != PROTOCOL_TCP or not flags or flags[0] & (SYN | ACK) != SYN:
        return b""
    return data[transport + 4 : transport + 8]
