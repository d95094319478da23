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
from middlebox.actions import Plan, passes, plan
from middlebox.assignment import Assignment
from middlebox.decision import PASS, Decision, Offload, Verdict
from middlebox.dissect.base import NOTHING_ALIVE, Fields
from middlebox.events import Event, Trigger
from middlebox.flow import Direction, Side
from middlebox.flowtable import EndKey, Flow, FlowTable, HandshakeStep, LiveRules
from middlebox.forge import Forger, Occasion
from middlebox.packet import Packet
from middlebox.profile import Deployment, Rule, StateFrom, TcpReading
from middlebox.program import Program
from middlebox.reading import read_segment, reads_payload_of
from middlebox.residual import ResidualTable, Sentence, residual_key

if TYPE_CHECKING:  # the dice are handed in
    from random import Random

_OFFLOADS = tuple(Decision(offload=Offload(bits)) for bits in range(4))
"""Pass it, and the kernel may pass the named directions by itself from now on."""


class Engine:
    """One box. Feed it every packet that the kernel plan sends up, in order."""

    def __init__(self, deployment: Deployment, rng: Random, start_ns: int) -> None:
        self._rng = rng
        self._forger = Forger(rng)
        self._residuals = ResidualTable()
        self.stats: Tally[str] = Tally()
        self.generation = 0
        self._take_up(deployment, start_ns)

    def _take_up(self, deployment: Deployment, now_ns: int) -> None:
        self.deployment = deployment
        self._assignment = Assignment(deployment, now_ns)
        readings = [profile.tcp for profile in deployment.profiles()] or [TcpReading()]
        self._flows = FlowTable(max(r.max_flows for r in readings), max(r.idle_ns for r in readings))
        self._residuals.clear()
        self._live: dict[LiveRules, LiveRules] = {}  # one copy of each: most connections have the same
        self._new_generation()

    def _new_generation(self) -> None:
        """What the kernel was told about connections counts no more; each is judged anew at its next packet."""
        self.generation = self.generation % 255 + 1

    # --- time --------------------------------------------------------------------------------------------------

    @property
    def next_change_ns(self) -> int | None:
        """When `advance` has to be called next, None when nothing is going to happen by itself."""
        times = [t for t in (self._assignment.next_change_ns, self._residuals.next_end_ns) if t is not None]
        return min(times, default=None)

    def advance(self, now_ns: int) -> tuple[Event, ...]:
        """Bring timeline and residual table up to now."""
        happened = [
            events.residual_changed(
                "residual_ended", now_ns, None, rule=s.rule.name, profile=s.profile, key=s.words, until_ns=s.until_ns
            )
            for s in self._residuals.end_due(now_ns)
        ]
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
        self, data: bytes, now_ns: int, ingress: Side, sent_by: Direction | None = None, first: bool = False
    ) -> Decision:
        """Judge one packet (bytes from the IP header on) that came in from `ingress`.

        What a kernel that tracks connections knows, and a capture does not: `sent_by`, which end sent it; `first`,
        that it is the first one of its connection, whatever is remembered of the same ports.
        """
        p = wire.decode(data)
        if p is None:
            self.stats["undecoded"] += 1
            return PASS
        flow, opened = self._flow_of(p, now_ns, ingress, sent_by, first)
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
        if self._residuals and (sentence := self._sentence(p, flow, now_ns)):
            return self._punish(p, flow, program, sentence, now_ns)
        direction = flow.direction
        blocked_by = flow.blocked[direction]
        if blocked_by is not None:
            return self._blocked(p, flow, program, blocked_by, now_ns)
        fields: Fields = {}
        if p.protocol == wire.PROTOCOL_TCP:
            if not reads_payload_of(p, flow, program.profile.tcp):
                return PASS
            alive = flow.alive
            read_segment(p, flow, program, fields)
            if flow.halves[direction].dropped and (rule := flow.halves[direction].dropped_by(p)):
                return self._dropped(p, flow, program, rule, now_ns)
            if flow.alive is not alive:
                flow.live = None
        # What this packet completed can match, even if nothing of the kind can come any more.
        rules = program.rules[direction] if flow.live is None and fields else self._live_rules(flow, p)[direction]
        for rule in rules:
            if rule.when.matches(p, flow, fields):
                decision = self._match(rule, p, flow, program, fields, now_ns)
                return self._with_flow_seen(decision, flow, now_ns) if opened else decision
        if p.flags & program.ending_flags:
            self._flows.remove(flow)
        decision = self._offload(flow, self._live_rules(flow, p))
        if opened and decision.offload is not Offload.PASS:
            return self._with_flow_seen(decision, flow, now_ns)
        return decision

    def _with_flow_seen(self, decision: Decision, flow: Flow, now_ns: int) -> Decision:
        seen = events.flow_seen(now_ns, flow.name)
        return Decision(decision.verdict, decision.offload, decision.forged, (seen, *decision.events))

    def _flow_of(
        self, p: Packet, now_ns: int, ingress: Side, sent_by: Direction | None, first: bool
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

    def _open(self, p: Packet, key: EndKey, now_ns: int, ingress: Side, sent_by: Direction | None) -> Flow | None:
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
            tcp = p.protocol == wire.PROTOCOL_TCP
            flow.dissector = flow.program.dissector(flow.key[3] & 0xFFFF) if tcp else None
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
            theirs = tuple([r for r in flow.program.rules[there] if r.when.may_match(reply, flow, alive[there])])
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

    # --- what a match leads to -----------------------------------------------------------------------------------

    def _match(
        self, rule: Rule, p: Packet, flow: Flow, program: Program, fields: Fields, now_ns: int
    ) -> Decision:
        """Carry out a rule whose filter matched this packet."""
        trigger = Trigger.of(p)
        acts = rule.probability >= 1.0 or self._rng.random() < rule.probability
        self.stats["matched"] += 1
        happened = [
            events.rule_matched(
                now_ns, flow.name, rule=rule.name, profile=program.profile.name, direction=flow.direction,
                trigger=trigger, actions=[type(a).__name__.lower() for a in rule.do], acted=acts,
                fields=_jsonable(fields),
            )  # fmt: skip
        ]
        if not acts:
            return Decision(events=tuple(happened))
        occasion = Occasion(p, flow, flow.direction, now_ns, passes(rule.do, program.profile.placement))
        planned = plan(rule.do, self._forger, occasion)
        if rule.residual is not None:
            happened.append(self._sentence_to(rule, p, flow, program, now_ns))
        return self._decide(planned, rule, occasion, program, trigger, happened)

    def _decide(
        self, planned: Plan, rule: Rule, occasion: Occasion, program: Program, trigger: Trigger, happened: list[Event]
    ) -> Decision:
        """From what the actions come to, to what the kernel is told."""
        flow, now_ns = occasion.flow, occasion.now_ns
        for direction, forged in planned.forged:
            towards = "server" if direction is Direction.CLIENT_TO_SERVER else "client"
            happened.append(
                events.packet_forged(
                    now_ns, flow.name, rule=rule.name, profile=program.profile.name, towards=towards,
                    direction=direction, packet=forged.data, delay_ns=forged.send_at_ns - now_ns, trigger=trigger,
                )  # fmt: skip
            )
        self.stats["forged"] += len(planned.forged)
        verdict = Verdict.ACCEPT
        if planned.drop:
            verdict = Verdict.DROP
            flow.halves[occasion.direction].remember_drop(occasion.trigger, rule)
            flow.blocked = (
                rule if Direction.CLIENT_TO_SERVER in planned.block else flow.blocked[0],
                rule if Direction.SERVER_TO_CLIENT in planned.block else flow.blocked[1],
            )
            happened.append(self._drop_event(trigger, flow, program, rule, now_ns))
        return Decision(verdict, Offload.NONE, tuple(forged for _, forged in planned.forged), tuple(happened))

    def _drop_event(self, packet: Trigger, flow: Flow, program: Program, rule: Rule, now_ns: int) -> Event:
        self.stats["dropped"] += 1
        return events.packet_dropped(
            now_ns, flow.name, rule=rule.name, profile=program.profile.name, direction=flow.direction, packet=packet
        )

    def _dropped(self, p: Packet, flow: Flow, program: Program, rule: Rule, now_ns: int) -> Decision:
        """The same bytes again that were dropped before: a retransmission."""
        return Decision(Verdict.DROP, events=(self._drop_event(Trigger.of(p), flow, program, rule, now_ns),))

    def _blocked(self, p: Packet, flow: Flow, program: Program, rule: Rule, now_ns: int) -> Decision:
        """Nothing of this direction passes any more, and the kernel may see to that."""
        offload = Offload.NONE
        if flow.blocked[0] is not None:
            offload |= Offload.DROP_CLIENT_TO_SERVER
        if flow.blocked[1] is not None:
            offload |= Offload.DROP_SERVER_TO_CLIENT
        dropped = self._drop_event(Trigger.of(p), flow, program, rule, now_ns)
        return Decision(Verdict.DROP, offload, events=(dropped,))

    # --- residual ------------------------------------------------------------------------------------------------

    def _sentence_to(self, rule: Rule, p: Packet, flow: Flow, program: Program, now_ns: int) -> Event:
        """Start a residual, and have the kernel send up again what it was allowed to pass: some of it is punished now."""
        assert rule.residual is not None
        key = residual_key(rule.residual, p, flow.ingress, flow.direction is Direction.CLIENT_TO_SERVER)
        sentence = self._residuals.start(rule, program.profile.name, key, now_ns)
        self._new_generation()
        return events.residual_changed(
            "residual_started", now_ns, flow.name, rule=rule.name, profile=program.profile.name,
            key=sentence.words, until_ns=sentence.until_ns,
        )  # fmt: skip

    def _sentence(self, p: Packet, flow: Flow, now_ns: int) -> Sentence | None:
        return self._residuals.find(p, flow.ingress, flow.direction is Direction.CLIENT_TO_SERVER, now_ns)

    def _punish(self, p: Packet, flow: Flow, program: Program, sentence: Sentence, now_ns: int) -> Decision:
        rule = sentence.rule
        assert rule.residual is not None
        hit = events.residual_changed(
            "residual_hit", now_ns, flow.name, rule=rule.name, profile=sentence.profile, key=sentence.words,
            until_ns=sentence.until_ns,
        )  # fmt: skip
        occasion = Occasion(p, flow, flow.direction, now_ns, passes(rule.residual.do, program.profile.placement))
        planned = plan(rule.residual.do, self._forger, occasion)
        return self._decide(planned, rule, occasion, program, Trigger.of(p), [hit])


def _may_open(p: Packet, reading: TcpReading) -> bool:
    """Whether this packet makes the box remember a connection."""
    if reading.state_from is StateFrom.ANY:
        return True
    syn = p.flags & (wire.SYN | wire.ACK)
    return syn == wire.SYN or (syn == wire.SYN | wire.ACK and reading.state_from is StateFrom.SYNACK)


def _sent_by_server(p: Packet) -> bool:
    """Who is the server of a connection first seen now: who answers a SYN, else who has the lower port."""
    if p.flags & wire.SYN:
        return bool(p.flags & wire.ACK)
    return p.sport < p.dport


def _is_new_connection(p: Packet, flow: Flow, direction: Direction) -> bool:
    """Whether the ports of a remembered connection are used again for another one."""
    if p.protocol != wire.PROTOCOL_TCP:
        return False
    stream = flow.halves[direction]
    if p.flags & wire.SYN and not p.flags & wire.ACK:
        again = stream.next_seq == (p.seq + 1) & 0xFFFFFFFF  # the same SYN, sent once more
        return direction is Direction.SERVER_TO_CLIENT or (flow.handshake is not HandshakeStep.NONE and not again)
    return stream.is_elsewhere(p.seq) and p.end > p.payload_start


def _jsonable(fields: Fields) -> dict[str, list[int | str | bool]]:
    return {name: [v.hex() if isinstance(v, bytes) else v for v in values] for name, values in fields.items()}
