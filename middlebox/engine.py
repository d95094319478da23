"""The box's judgement: one packet in, one Decision out.

No clock, no dice, no socket: time and a seeded Random are handed in, so the same packets with the same seed give the
same decisions, from the kernel's queue or from a capture. Bytes from the wire never raise out of here; what cannot be
decoded passes and is counted. An exception is a bug, and the edge that called says what then happens to the packet.

The path of a packet: decode -> flow -> whose profile -> residual -> stream -> dissect -> match -> act -> treat.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from middlebox import events, packet as wire
from middlebox.assignment import Assignment
from middlebox.decision import PASS, Decision, Offload
from middlebox.dissect.base import Fields
from middlebox.enforcement import Enforcement
from middlebox.events import Event
from middlebox.flow import Direction, Side
from middlebox.flowtable import EndKey, Flow, FlowTable
from middlebox.judgement import Judgement
from middlebox.live_rules import LiveRulesTable, blocked_directions, offload_of_stopped
from middlebox.opening import is_forgotten, is_new_connection, may_open, sent_by_server
from middlebox.packet import PROTOCOL_TCP, RST, SYN, Packet
from middlebox.profile import Deployment, Profile, SecondSyn, TcpReading
from middlebox.program import Program
from middlebox.reading import overtakes, read_datagram, read_segment, reads_payload_of, share_of_resync

if TYPE_CHECKING:  # the dice are handed in; the core imports none
    from random import Random

_LET_GO = Decision(offload=Offload.PASS)
"""Pass it, and the kernel may pass the rest of its connection by itself."""

# Taken out of their enums once: looking them up there costs as much as the rest of a step.
_TO_SERVER, _TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
_INSIDE = Side.INSIDE


class Engine:
    """One box. Feed it every packet that the kernel plan sends up, in order."""

    def __init__(self, deployment: Deployment, rng: Random, start_ns: int, *, hops_taken: int = 0) -> None:
        """hops_taken: how much has been taken off a packet's TTL by the box's own router when `handle` gets it."""
        self._hops_taken = hops_taken
        self.undecoded = 0
        """Packets whose headers cannot be read; they passed."""
        self._enforcement = Enforcement(rng)
        self._residuals = self._enforcement.residuals
        self._marks = self._enforcement.marks
        self._flows = FlowTable(max_flows=1, idle_ns=0)
        self.generation = 0
        self._take_up(deployment, start_ns)

    def _take_up(self, deployment: Deployment, now_ns: int) -> None:
        self.deployment = deployment
        self._assignment = Assignment(deployment, now_ns)
        readings = [profile.tcp for profile in deployment.profiles()] or [TcpReading()]
        self._flows.resize(max(r.max_flows for r in readings), max(r.idle_ns for r in readings))
        self._least_idle_ns = min(r.idle_ns for r in readings)
        self._enforcement.start_over()
        self._live = LiveRulesTable()
        self._brings_back = any(map(_may_bring_back, deployment.profiles()))
        self._new_generation()

    def _new_generation(self) -> None:
        """What the kernel was told about connections counts no more; each is judged anew at its next packet."""
        self.generation += 1

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
    def deployments(self) -> tuple[Deployment, ...]:
        """One; of a stack there are several."""
        return (self.deployment,)

    @property
    def punishing(self) -> bool:
        """Whether a residual is in force: until it is over, more packets have to be seen."""
        return self._residuals.in_force

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
        has_passed: bool = False,
        decoded: Packet | None = None,
    ) -> Decision:
        """Judge one packet (bytes from the IP header on) that came in from `ingress`.

        What a kernel knows, and a capture does not: `sent_by`, which end sent it; `first`, that it is the first one of
        its connection, whatever is remembered of the same ports; `has_passed`, that it went on some time ago: it is
        read, and no rule looks at it any more. decoded: the same packet, to be this engine's own.
        """
        p = decoded or wire.decode(data)
        if p is None:
            self.undecoded += 1
            return PASS
        p.ttl += self._hops_taken
        protocol = p.protocol << 16
        key = (p.src, p.sport | protocol, p.dst, p.dport | protocol)
        flow = None if first else self._known(p, key, now_ns)
        opened = flow is None
        if flow is None:
            flow = self._open(p, key, now_ns, ingress, sent_by)
            if flow.program is None:
                return _LET_GO
            if not may_open(p, flow.program.profile.tcp):
                return PASS if has_passed else self._answer_stranger(p, flow, flow.program, now_ns)
            self._flows.add(flow)
        else:
            flow.ingress = ingress
            flow.last_ns = now_ns
            if flow.generation != self.generation:
                self._reassign(flow, p)
        program = flow.program
        if program is None:
            return self._leave_alone(p, flow)
        flow.packets += 1
        flow.bytes += len(data)
        if program.meters:
            flow.account.bytes += len(data)
        known = flow.stopped or (self._residuals.in_force and not has_passed)
        judgement = self._judged_before(p, flow, program, now_ns) if known else None
        if judgement is None:
            judgement = self._judge(p, flow, program, now_ns, has_passed=has_passed)
        if flow.treated or (judgement is not None and judgement.flags is not None):
            judgement = judgement or Judgement(p, flow, program, now_ns)
            self._enforcement.treat(judgement)
        if judgement is not None:
            return self._conclude(judgement, opened=opened)
        decision = PASS if self._keeps(p, flow, program, now_ns) else self._let_go(p, flow, program)
        if opened and decision is not _LET_GO:
            return Decision(offload=decision.offload, events=(events.flow_seen(now_ns, flow.name),))
        return decision

    def _keeps(self, p: Packet, flow: Flow, program: Program, now_ns: int) -> bool:
        """Whether this packet says nothing about letting go: it ends the connection, or punishment may be near."""
        if p.flags & program.ending_flags:
            return True
        return self._residuals.in_force and self._may_be_punished(p, flow, program, now_ns)

    def lead(self, data: bytes, now_ns: int, ingress: Side) -> Decision:
        """Say where a connection goes of which this is the first packet, with the addresses that its client gave it.

        Comes before `handle` of the same packet, which is not asked where the connection is redirected.
        """
        p = wire.decode(data)
        if p is None:
            return PASS
        program, subscriber = self._assignment.of(p.src if ingress is _INSIDE else p.dst)
        if program is None or not program.redirects:
            return PASS
        protocol = p.protocol << 16
        flow = Flow((p.src, p.sport | protocol, p.dst, p.dport | protocol), ingress, now_ns)
        flow.program, flow.subscriber = program, subscriber
        return self._enforcement.lead(Judgement(p, flow, program, now_ns))

    def _judged_before(self, p: Packet, flow: Flow, program: Program, now_ns: int) -> Judgement | None:
        """What follows from earlier packets alone: a residual, a blocked connection, bytes that were dropped once."""
        sentence = self._residuals.find(p, flow, program.profile.name, now_ns)
        if sentence is None and not flow.stopped:
            return None
        judgement = Judgement(p, flow, program, now_ns)
        judgement.punished = sentence is not None or self._may_be_punished(p, flow, program, now_ns)
        if sentence is not None:
            self._enforcement.punish(sentence, judgement)
            if p.end > p.payload_start:
                flow.lose_track(flow.direction)  # nobody reads it
        stopped = flow.stopped and self._enforcement.keep_stopped(judgement)
        return judgement if stopped or sentence is not None else None

    def _conclude(self, judgement: Judgement, *, opened: bool) -> Decision:
        """Make one answer of everything that was said about a packet."""
        flow = judgement.flow
        if judgement.offload and self._may_be_punished(
            judgement.packet, flow, judgement.program, judgement.now_ns
        ):
            judgement.offload = Offload.NONE
        if opened:
            judgement.events.insert(0, events.flow_seen(judgement.now_ns, flow.name))
        return judgement.decision()

    def _may_be_punished(self, p: Packet, flow: Flow, program: Program, now_ns: int) -> bool:
        """Whether later packets of this connection may have to be punished, though this one was let alone."""
        return self._residuals.in_force and self._residuals.covers(p, flow, program.profile.name, now_ns)

    def _judge(
        self, p: Packet, flow: Flow, program: Program, now_ns: int, *, has_passed: bool
    ) -> Judgement | None:
        """Read the packet and do what the rules say that match it; None when there is nothing to be said about it."""
        fields: Fields = {}
        direction = flow.direction
        shown = p
        if p.protocol == PROTOCOL_TCP and p.payload_start > p.l4:
            if not reads_payload_of(p, flow, program):
                return None
            if program.rewrites[direction] and (rule := overtakes(p, flow, program)) is not None:
                judgement = Judgement(p, flow, program, now_ns)
                judgement.drop(rule)
                return judgement
            read = read_segment(p, flow, program, fields)
            if read is None:
                return None
            shown = read
        elif flow.dissector is not None:
            read_datagram(p, flow, flow.dissector, fields)
        if p.end > p.payload_start:
            flow.halves[direction].data_packets += 1
        if self._marks.in_use:
            flow.marks = flow.own_marks | self._marks.of(p, flow.ingress, direction, now_ns)
        # Those that were live before this packet: what it completed can match, even if it was the last of its kind.
        if flow.live is not None:
            rules = flow.live.rules[direction]
        else:
            rules = program.rules[direction] if fields else self._live.find(p, flow, program).rules[direction]
        matched: Judgement | None = None
        for rule in () if has_passed else rules:
            if rule.when.matches(shown, flow, fields):
                matched = matched or Judgement(p, flow, program, now_ns)
                self._enforcement.note_match(rule, matched, fields)
        if matched is not None and self._enforcement.carry_out(matched):
            self._new_generation()  # some of what the kernel was allowed to pass is punished now
        if p.flags & program.ending_flags and not flow.stopped and flow.translation is None:
            self._end(p, flow, program.profile.tcp)  # what is blocked stays so, and moved numbers stay moved
        return matched

    def _end(self, p: Packet, flow: Flow, reading: TcpReading) -> None:
        """Forget a connection that this packet ends, or only how far it had come."""
        if p.flags & RST and self._enforcement.chance(share_of_resync(flow, reading)):
            flow.read_anew()
        elif reading.ends_on_rst or not p.flags & RST:
            self._flows.remove(flow)

    def _let_go(self, p: Packet, flow: Flow, program: Program) -> Decision:
        """Tell the kernel which directions of this connection need no more looking at."""
        if program.meters:  # whatever passes, its bytes count
            return Decision(offload=blocked_directions(flow)) if flow.stopped else PASS
        live = flow.live
        if live is None or flow.live_for is not flow.alive or program.counts:
            if program.may_lose_count and flow.lost_count:
                return PASS  # what is let go now would be missing when it finds its way again
            live = self._live.find(p, flow, program)
        if flow.stopped:
            return Decision(offload=offload_of_stopped(flow, live))
        if not live.over:
            return live.answer
        if not self._brings_back:
            self._flows.remove(flow)
        return _LET_GO

    def _answer_stranger(self, p: Packet, flow: Flow, program: Program, now_ns: int) -> Decision:
        """A packet of a connection that nobody here wants to remember passes, unless its hosts are punished."""
        if self._residuals.in_force:
            judgement = self._judged_before(p, flow, program, now_ns)
            if judgement is not None:
                return judgement.decision()
        return PASS

    def _leave_alone(self, p: Packet, flow: Flow) -> Decision:
        """No rule applies to a subscriber any more; numbers that a rule has moved stay moved."""
        if flow.translation is None:
            self._flows.remove(flow)
            return _LET_GO
        carried = flow.translation.apply(p, flow.direction)
        return PASS if carried is None else Decision(replacement=carried.data)

    # --- connections -------------------------------------------------------------------------------------------

    def _known(self, p: Packet, key: EndKey, now_ns: int) -> Flow | None:
        """The remembered connection that this packet belongs to, with its direction set."""
        flow = self._flows.get(key)
        if flow is not None:
            flow.direction = _TO_SERVER
        else:
            src, sport, dst, dport = key
            flow = self._flows.get((dst, dport, src, sport))
            if flow is None:
                return None
            flow.direction = _TO_CLIENT
        if now_ns - flow.last_ns >= self._least_idle_ns and is_forgotten(flow, now_ns):
            return None
        return None if p.protocol == PROTOCOL_TCP and is_new_connection(p, flow) else flow

    def _open(self, p: Packet, key: EndKey, now_ns: int, ingress: Side, sent_by: Direction | None) -> Flow:
        if sent_by is _TO_CLIENT or (sent_by is None and sent_by_server(p)):
            src, sport, dst, dport = key
            flow = Flow((dst, dport, src, sport), ingress.opposite, now_ns)
            flow.direction = _TO_CLIENT
            flow.ingress = ingress
        else:
            flow = Flow(key, ingress, now_ns)
        if p.flags & SYN:
            flow.halves[flow.direction].start((p.seq + 1) & 0xFFFFFFFF)
        flow.generation = self.generation
        flow.program, flow.subscriber = self._assignment.of(p.src if ingress is _INSIDE else p.dst)
        if flow.program is not None:
            flow.give_dissector()
            self._give_account(flow, p, flow.program)
        return flow

    def _reassign(self, flow: Flow, p: Packet) -> None:
        """Give a connection the rules now in force for its subscriber; the kernel may have passed parts of it."""
        before = flow.program
        flow.generation = self.generation
        flow.lose_what_was_let_go()
        flow.live = None
        flow.program, flow.subscriber = self._assignment.of(p.src if flow.ingress is _INSIDE else p.dst)
        if flow.program is None:
            return
        if flow.program is not before:
            flow.start_over()
            flow.give_dissector()
            self._give_account(flow, p, flow.program)

    def _give_account(self, flow: Flow, p: Packet, program: Program) -> None:
        if program.meters:
            flow.account = self._assignment.account_of(p.src if flow.ingress is _INSIDE else p.dst)


def _may_bring_back(profile: Profile) -> bool:
    """Whether connections that were let go may have to be looked at again, so that what is known of them by then must
    not be forgotten: by a sentence, a second SYN, a RST at which the box loses count."""
    if Program(profile).may_lose_count or profile.tcp.second_syn is not SecondSyn.NEW:
        return True
    return any(rule.residual is not None for rule in profile.rules)
