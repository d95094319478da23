"""What the kernel of a live box does around the engine, done for captures: packets that no rule could need are kept
from it, each connection is asked about once where it goes, and what was led elsewhere or let go comes no more.

Counterpart of `gate`, which has nft and conntrack do it by the same plan: a replay and a live box say the same
of the same packets. It must never judge a packet; in doubt one is shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from middlebox.decision import PASS, Decision, Offload
from middlebox.ends import ends_of, turned
from middlebox.engine import Engine
from middlebox.flow import Direction, Side
from middlebox.packet import ACK, PROTOCOL_TCP, PROTOCOL_UDP, RST, SYN
from middlebox.stack import Stack
from middlebox.wants import Want, plan_for

CONNECTIONS_REMEMBERED: Final = 1 << 20
"""The oldest is forgotten, and taken for a new one (chosen)."""

_MAY_HIDE_ANYTHING = (0, 43, 44, 60, PROTOCOL_TCP, PROTOCOL_UDP)
"""Protocols of a packet that has no name: extension headers of IPv6 (RFC 8200 section 4), and pieces."""

_TO_SERVER, _TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
_TLS_TYPES = tuple(bytes((number,)) for number in range(20, 24))
_NOT_CAPTURED = _TLS_TYPES[0]
"""What stands for bytes that the capture has left out: they may be anything."""


class _Connection:
    """What conntrack and its mark would hold.

    client: the name of what is sent by who sent the SYN; syn: its sequence number, as bytes; both empty without a SYN.
    generation: when `want`, why its packets are looked at, was found; let_go: nobody has wanted more of it since.
    shown: some packet of it was.
    """

    __slots__ = ("client", "syn", "asked", "led_elsewhere", "shown", "generation", "want", "let_go")

    def __init__(self, client: bytes, syn: bytes) -> None:
        self.client = client
        self.syn = syn
        self.asked = self.led_elsewhere = self.shown = self.let_go = False
        self.generation = 0  # never one
        self.want: Want | None = None


class Gatekeeper:
    """In front of an engine whose packets come from a capture."""

    def __init__(self, engine: Engine | Stack) -> None:
        self._engine = engine
        self._connections: dict[bytes, _Connection] = {}
        self._wants: dict[bytes, Want | None] = {}
        self._generation = 0
        self._take_up_plan()

    def _take_up_plan(self) -> None:
        """Begin a generation: what was decided before is asked again."""
        engine = self._engine
        self._engine_generation, self._punishing = engine.generation, engine.punishing
        self._plan = plan_for(*engine.deployments, punishing=engine.punishing)
        self._wants.clear()
        self._generation += 1

    def handle(self, data: bytes, now_ns: int, ingress: Side) -> Decision:
        """As `Engine.handle`, of a packet that the engine may never be shown."""
        engine = self._engine
        if engine.generation != self._engine_generation or engine.punishing != self._punishing:
            self._take_up_plan()
        name = ends_of(data)
        if not name:
            return engine.handle(data, now_ns, ingress) if self._wants_nameless(data) else PASS
        flags, payload = _segment(data) if name[0] == PROTOCOL_TCP else (0, b"")
        connection = self._connections.get(name)
        if connection is None or flags & (SYN | ACK) == SYN:
            connection = self._begin(name, data, flags)
        led = PASS
        if not connection.asked:
            connection.asked = True
            led = engine.lead(data, now_ns, ingress)
            connection.led_elsewhere = led.redirect is not None
        if connection.led_elsewhere or not self._shows(name, flags, payload, connection):
            return led
        first = not connection.shown and not self._plan.sees_syn
        connection.shown = True
        sent_by = None
        if connection.client:
            sent_by = _TO_SERVER if name == connection.client else _TO_CLIENT
        decision = engine.handle(data, now_ns, ingress, sent_by, first=first)
        if decision.offload is Offload.PASS and engine.generation == self._engine_generation:
            connection.let_go = True
        return decision if led is PASS else replace(decision, events=led.events + decision.events)

    def _shows(self, name: bytes, flags: int, payload: bytes, connection: _Connection) -> bool:
        """Whether the kernel would queue this packet, by the rules that `gate` writes for it."""
        if connection.generation != self._generation:
            connection.generation = self._generation
            connection.want = self._want_of(name)
            connection.let_go = False
        if self._plan.renews and flags & (SYN | RST):
            connection.let_go = False
        want = connection.want
        if want is None or connection.let_go:
            return False
        if want.every_segment or name[0] != PROTOCOL_TCP:
            return True
        plan = self._plan
        if want.tls and not connection.shown:
            if flags & plan.flags & SYN or _may_begin_tls(payload):
                return True
            connection.let_go = payload != b""
            return False
        if plan.synacks and not want.tls and flags & (SYN | ACK) == SYN | ACK:
            return True
        return payload != b"" or flags & plan.flags != 0

    def _want_of(self, name: bytes) -> Want | None:
        """Why packets of this name are looked at."""
        ends = name[:1] + name[-4:]
        if ends not in self._wants:
            if len(self._wants) >= CONNECTIONS_REMEMBERED:
                self._wants.clear()
            ports = int.from_bytes(ends[1:3]), int.from_bytes(ends[3:])
            self._wants[ends] = next((w for w in self._plan.wants if w.concerns(ends[0], *ports)), None)
        return self._wants[ends]

    def _wants_nameless(self, data: bytes) -> bool:
        protocol = data[9:10] if data[0] >> 4 == 4 else data[6:7]
        in_doubt = not protocol or protocol[0] in _MAY_HIDE_ANYTHING
        return any(in_doubt or want.concerns(protocol[0], 0, 0) for want in self._plan.wants)

    def _begin(self, name: bytes, data: bytes, flags: int) -> _Connection:
        """The connection that is begun by a packet: a SYN, or the first of its name."""
        syn = _sequence_number(data) if flags & (SYN | ACK) == SYN else b""
        connections = self._connections
        connection = connections.get(name)
        if connection is not None and connection.syn == syn:
            # sent once more: nothing that was decided still holds
            connection.let_go = connection.shown = False
            return connection
        other_way = turned(name)
        for known in (name, other_way):
            connections.pop(known, None)
        if len(connections) >= 2 * CONNECTIONS_REMEMBERED:
            oldest = next(iter(connections))
            for known in (oldest, turned(oldest)):
                connections.pop(known, None)
        connection = _Connection(name if syn else b"", syn)
        connections[name] = connections[other_way] = connection
        return connection


def _sequence_number(data: bytes) -> bytes:
    return data[24:28] if data[0] == 0x45 else data[44:48]


def _segment(data: bytes) -> tuple[int, bytes]:
    """The flags of a TCP segment that has a name, and the first two bytes of its payload."""
    transport, length_at, counted_from = (20, 2, 0) if data[0] == 0x45 else (40, 4, 40)
    if len(data) < transport + 14:
        return 0, _NOT_CAPTURED
    flags, start = data[transport + 13], transport + (data[transport + 12] >> 4 << 2)
    end = counted_from + int.from_bytes(data[length_at : length_at + 2])
    if start == end:
        return flags, b""
    if end < start:  # handed over by its network card's helpers, who do not fill in the length
        end = len(data)
    return flags, data[start : min(end, start + 2)] or _NOT_CAPTURED


def _may_begin_tls(payload: bytes) -> bool:
    """A record's content type and major version, as far as they are there (RFC 8446 section 5.1)."""
    return payload[:1] in _TLS_TYPES and payload[1:2] in (b"", b"\x03")
