"""The box's judgement: one packet in, one Decision out.

No clock, no dice, no socket: time and a seeded Random are handed in, so the same packets with the same seed give the
same decisions, from the kernel's queue or from a capture. Bytes from the wire never raise out of here; what cannot be
decoded passes and is counted. An exception is a bug, and the edge that called says what then happens to the packet.

The path of a packet: decode -> whose profile -> residual -> flow -> stream -> dissect -> match -> act.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from middlebox import events, packet as wire
from middlebox.assignment import Assignment
from middlebox.decision import PASS, Decision, Offload
from middlebox.dissect.base import NOTHING_ALIVE, Fields
from middlebox.enforcement import Enforcement
from middlebox.events import Event
from middlebox.flow import Direction, Side
from middlebox.flowtable import EndKey, Flow, FlowTable, HandshakeStep, LiveRules
from middlebox.judgement import Judgement
from middlebox.packet import Packet
from middlebox.profile import Deployment, Rule, StateFrom, TcpReading
from middlebox.program import Program
from middlebox.reading import read_datagram, read_segment, reads_payload_of

if TYPE_CHECKING:  # the dice are handed in; the core imports none
    from random import Random

FIRST_UNPRIVILEGED_PORT = 1024

_OFFLOADS = tuple(Decision(offload=Offload(bits)) for bits in range(4))
"""Pass it, and the kernel may pass the named directions by itself from now on."""


class Engine:
    """One box. Feed it every packet that the kernel plan sends up, in order."""

    def __init__(self, deployment: Deployment, rng: Random, start_ns: int) -> None:
        self.stats: Tally[str] = Tally()
        self._enforcement = Enforcement(rng, self.stats)
        self.generation = 0
        self._take_up(deployment, start_ns)

    def _take_up(self, deployment: Deployment, now_ns: int) -> None:
        self.deployment = deployment
        self._assignment = Assignment(deployment, now_ns)
        readings = [profile.tcp for profile in deployment.profiles()] or [TcpReading()]
        self._flows = FlowTable(max(r.max_flows for r in readings), max(r.idle_ns for r in readings))
        self._enforcement.residuals.clear()
        self._live: dict[LiveRules, LiveRules] = {}  # one copy of each: most connections have the same
        self._new_generation()

    def _new_generation(self) -> None:
        """What the kernel was told about connections counts no more; each is judged anew at its next packet."""
        self.generation = self.generation % 255 + 1

    # --- time --------------------------------------------------------------------------------------------------

    @property
    def next_change_ns(self) -> int | None:
        """When `advance` has to be called next, None when nothing is going to happen by itself."""
        times = [
            t
            for t in (self._assignment.next_change_ns, self._enforcement.residuals.next_end_ns)
            if t is not None
        ]
        return min(times, default=None)

    def advance(self, now_ns: int) -> tuple[Event, ...]:
        """Bring timeline and residual table up to now."""
        happened = self._enforcement.end_due(now_ns)
        changes = self._assignment.advance(now_ns)
        if changes:
            self._new_generation()
        happened += [
            events.profile_changed(now_ns, profile=profile, subscriber=subscriber, cause="timeline")
            for subscriber, profile in changes
        ]
        return tuple(happened)

    def reload(self, deployment: Deployment, now_ns: int) -> tuple[Event, ...]:
        """Take up another deployment; connections under way are judged by it from their next packet on."""
        self._take_up(deployment, now_ns)
        return (events.profile_changed(now_ns, profile=deployment.name, subscriber=None, cause="reload"),)

    @property
    def flows(self) -> int:
        """How many connections are remembered now."""
        return len(self._flows)

    # --- packets -----------------------------------------------------------------------------------------------

    def handle(
        self,
        data: bytes,
        now_ns: int,
        ingress: Side,
        sent_by: Direction | None = None,
        *,
        first: bool = False,
    ) -> Decision:
        """Judge one packet (bytes from the IP header on) that came in from `ingress`.

        What a kernel that tracks connections knows, and a capture does not: `sent_by`, which end sent it; `first`,
        that it is the first one of its connection, whatever is remembered of the same ports.
        """
        p = wire.decode(data)
        if p is None:
            self.stats["undecoded"] += 1
            return PASS
        flow, opened = self._flow_of(p, now_ns, ingress, sent_by, first=first)
        if flow is None:
            return PASS
        if flow.generation != self.generation:
            self._assign(flow, p, ingress)  # and finds its live rules below, when the packet is read
        program = flow.program
        if program is None:
            self._flows.remove(flow)
            return _OFFLOADS[Offload.PASS]
        flow.packets += 1
        flow.bytes += len(data)
        if (judgement := self._judged_before(p, flow, program, now_ns)) is not None:
            return _conclude(judgement, opened=opened)
        fields: Fields = {}
        alive = flow.alive
        if p.protocol == wire.PROTOCOL_TCP and p.payload_start > p.l4:  # a later fragment has no header
            if not reads_payload_of(p, flow, program.profile.tcp):
                return PASS
            read_segment(p, flow, program, fields)
        elif flow.dissector is not None and p.protocol != wire.PROTOCOL_TCP:
            read_datagram(p, flow, flow.dissector, fields)
        if flow.alive is not alive:
            flow.live = None
        if self._enforcement.marks:
            flow.marks = flow.own_marks | self._enforcement.marks.of(p, flow.ingress, flow.direction, now_ns)
        # What this packet completed can match, even if nothing of the kind can come any more.
        direction = flow.direction
        rules = (
            program.rules[direction] if flow.live is None and fields else self._live_rules(flow, p)[direction]
        )
        for rule in rules:
            if rule.when.matches(p, flow, fields):
                if judgement is None:
                    judgement = Judgement(p, flow, program, now_ns)
                if self._enforcement.carry_out(rule, judgement, fields):
                    self._new_generation()  # some of what the kernel was allowed to pass is punished now
        if p.flags & program.ending_flags:
            self._flows.remove(flow)
        if flow.stays:
            judgement = judgement or Judgement(p, flow, program, now_ns)
            self._enforcement.treat(judgement)
        if judgement is not None:
            return _conclude(judgement, opened=opened)
        decision = self._offload(flow, self._live_rules(flow, p))
        if opened and decision.offload is not Offload.PASS:
            return Decision(offload=decision.offload, events=(events.flow_seen(now_ns, flow.name),))
        return decision

    def _judged_before(self, p: Packet, flow: Flow, program: Program, now_ns: int) -> Judgement | None:
        """What follows from earlier packets alone: a residual, a blocked connection, bytes that were dropped once."""
        residuals = self._enforcement.residuals
        sentence = residuals.find(p, flow.ingress, flow.direction, now_ns) if residuals else None
        blocked_by = flow.blocked[flow.direction]
        dropped = flow.halves[flow.direction].dropped
        if sentence is None and blocked_by is None and dropped is None:
            return None
        judgement = Judgement(p, flow, program, now_ns)
        if sentence is not None:
            self._enforcement.punish(sentence, judgement)
        elif blocked_by is not None:
            self._enforcement.keep_blocked(blocked_by, judgement)
        elif (dropped_by := flow.halves[flow.direction].dropped_by(p)) is not None:
            self._enforcement.drop_again(dropped_by, judgement)
        else:
            return None
        return judgement

    def _flow_of(
        self, p: Packet, now_ns: int, ingress: Side, sent_by: Direction | None, *, first: bool
    ) -> tuple[Flow | None, bool]:
        """The connection of a packet, and whether it was made just now. None: nobody here wants to remember it."""
        sport = p.sport | p.protocol << 16
        dport = p.dport | p.protocol << 16
        if not first:
            flow = self._flows.get((p.src, sport, p.dst, dport))
            direction = Direction.CLIENT_TO_SERVER
            if flow is None:
                flow = self._flows.get((p.dst, dport, p.src, sport))
                direction = Direction.SERVER_TO_CLIENT
            if flow is not None and not _is_new_connection(p, flow, direction):
                flow.direction = direction
                flow.ingress = ingress
                flow.last_ns = now_ns
                return flow, False
        return self._open(p, (p.src, sport, p.dst, dport), now_ns, ingress, sent_by), True

    def _open(
        self, p: Packet, key: EndKey, now_ns: int, ingress: Side, sent_by: Direction | None
    ) -> Flow | None:
        program, _ = self._assignment.of(p.src if ingress is Side.INSIDE else p.dst)
        tcp = p.protocol == wire.PROTOCOL_TCP
        if tcp and program is not None and not _may_open(p, program.profile.tcp):
            return None
        if sent_by is Direction.SERVER_TO_CLIENT or (sent_by is None and _sent_by_server(p)):
            key = (key[2], key[3], key[0], key[1])
            flow = Flow(key, ingress.opposite, now_ns)
            flow.direction = Direction.SERVER_TO_CLIENT
        else:
            flow = Flow(key, ingress, now_ns)
        flow.ingress = ingress
        self._flows.add(flow)
        self.stats["flows"] += 1
        return flow

    def _assign(self, flow: Flow, p: Packet, ingress: Side) -> None:
        """Give a connection the rules that are in force for its subscriber now."""
        before = flow.program
        flow.program, flow.subscriber = self._assignment.of(p.src if ingress is Side.INSIDE else p.dst)
        flow.generation = self.generation
        flow.live = None
        if flow.program is not None and flow.program is not before:
            flow.blocked = (None, None)
            flow.dissector = flow.program.dissector(p.protocol, flow.key[1] & 0xFFFF, flow.key[3] & 0xFFFF)
            flow.alive = flow.dissector.alive if flow.dissector else None

    def _live_rules(self, flow: Flow, p: Packet) -> LiveRules:
        """For each direction, the rules that some later packet could still match; kept until something changes."""
        if flow.live is not None:
            return flow.live
        assert flow.program is not None
        here = flow.direction
        there = here.opposite
        alive = flow.alive or NOTHING_ALIVE
        ours = tuple([r for r in flow.program.rules[here] if r.when.may_match(p, flow, alive[here])])
        theirs: tuple[Rule, ...] = ()
        if flow.program.rules[there]:
            reply = p.reversed()
            ingress = flow.ingress
            flow.direction, flow.ingress = there, ingress.opposite
            theirs = tuple(
                [r for r in flow.program.rules[there] if r.when.may_match(reply, flow, alive[there])]
            )
            flow.direction, flow.ingress = here, ingress
        live = (ours, theirs) if here is Direction.CLIENT_TO_SERVER else (theirs, ours)
        flow.live = self._live.setdefault(live, live)
        return flow.live

    def _offload(self, flow: Flow, live: LiveRules) -> Decision:
        """Tell the kernel which directions of this connection need no more looking at."""
        to_server, to_client = live
        if to_server and to_client or (to_server or to_client) and flow.couples_directions:
            return PASS
        if not to_server and not to_client:
            if flow.blocked == (None, None):
                self._flows.remove(flow)
            self.stats["offloaded_flows"] += 1
            return _OFFLOADS[Offload.PASS]
        return _OFFLOADS[Offload.PASS_SERVER_TO_CLIENT if to_server else Offload.PASS_CLIENT_TO_SERVER]


def _conclude(judgement: Judgement, *, opened: bool) -> Decision:
    if opened:
        judgement.events.insert(0, events.flow_seen(judgement.now_ns, judgement.flow.name))
    return judgement.decision()


def _may_open(p: Packet, reading: TcpReading) -> bool:
    """Whether this packet makes the box remember a connection."""
    if reading.state_from is StateFrom.ANY:
        return True
    syn = p.flags & (wire.SYN | wire.ACK)
    return syn == wire.SYN or (syn == wire.SYN | wire.ACK and reading.state_from is StateFrom.SYNACK)


def _sent_by_server(p: Packet) -> bool:
    """Who is the server of a connection first seen now: who answers a SYN, else who has the lower port.

    Where both ports are high, as WireGuard's and OpenVPN's may be, the first datagram is the client's.
    """
    if p.flags & wire.SYN:
        return bool(p.flags & wire.ACK)
    return p.sport < p.dport and (p.protocol == wire.PROTOCOL_TCP or p.sport < FIRST_UNPRIVILEGED_PORT)


def _is_new_connection(p: Packet, flow: Flow, direction: Direction) -> bool:
    """Whether the ports of a remembered connection are used again for another one."""
    if p.protocol != wire.PROTOCOL_TCP:
        return False
    stream = flow.halves[direction]
    if p.flags & wire.SYN and not p.flags & wire.ACK:
        again = stream.next_seq == (p.seq + 1) & 0xFFFFFFFF  # the same SYN, sent once more
        return direction is Direction.SERVER_TO_CLIENT or (
            flow.handshake is not HandshakeStep.NONE and not again
        )
    return stream.is_elsewhere(p.seq) and p.end > p.payload_start
