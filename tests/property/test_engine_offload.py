"""What the engine lets the kernel pass is never missed: the same rules match the same packets, seen or not.

Two engines get the same conversations: one is shown every packet and its offers to let go are ignored, the other is
not shown what it has let go, as a kernel would do it. Rules, readings and conversations are drawn.
"""

from __future__ import annotations

import re
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from middlebox.decision import Decision, Offload, Verdict
from middlebox.engine import Engine
from middlebox.filters import compile_filter
from middlebox.flow import Direction, Side
from middlebox.look import Constant, Look
from middlebox.packet import ACK, FIN, PSH, RST, SYN, Packet, tcp_segment
from middlebox.profile import (
    Action,
    Case,
    Deployment,
    Drop,
    DropScope,
    KeyPart,
    Log,
    Mark,
    Phase,
    Placement,
    Profile,
    Reassembly,
    Reset,
    Residual,
    Rewrite,
    Rule,
    SecondSyn,
    StateFrom,
    Substitution,
    TcpReading,
    Throttle,
    Towards,
)
from middlebox.wants import plan_for
from tests.property.packet_soup import CLIENT_LINES, SERVER_LINES, TLS_RECORDS, V4, V6

SECOND_NS = 1_000_000_000
CONTROL = SYN | FIN | RST

WHENS = (
    'smtp.command_line matches "^STARTTLS"',
    "smtp.response.code == 220",
    'tls.handshake.extensions_server_name contains "blocked"',
    "tls.handshake.type == 1 and tcp.dstport in {443, 465}",
    "tls.record.content_type == 21",
    'tcp.payload contains "ultrasurf"',
    'tcp.payload contains "OK" and tcp.srcport == 110',
    'imap.request.command == "STARTTLS"',
    'http.host contains "example"',
    "tcp.flags.syn == 1 and tcp.flags.ack == 0",
    "tcp.flags.reset == 1 and tcp.dstport == 80",
    'flow.packets <= 4 and tcp.len > 0 and flow.direction == "client-to-server"',
    "flow.bytes >= 600 and tcp.dstport == 587",
    'flow.marks == "seen"',
    'flow.marks == "seen" and tcp.srcport == 80',
    'not tcp.dstport == 80 and ip.src == 192.0.2.11 and tcp.payload contains "a"',
    "ipv6 and tcp.dstport == 25",
)
DOS: tuple[tuple[Action, ...], ...] = (
    (Log(),),
    (Reset(Towards.BOTH, Look()),),
    (Drop(),),
    (Drop(DropScope.DIRECTION),),
    (Drop(DropScope.FLOW),),
    (Mark("seen"),),
    (Mark("seen", (KeyPart.INSIDE_IP,), SECOND_NS),),
    (Throttle(Constant(4000), 400),),
    (Rewrite((Substitution(re.compile(b"[A-M]+"), b"x"),)),),
)


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    made = []
    for number in range(draw(st.integers(1, 3))):
        residual = None
        if draw(st.integers(0, 5)) == 0:
            key = draw(st.sampled_from([(KeyPart.INSIDE_IP,), (KeyPart.CLIENT_IP, KeyPart.SERVER_PORT)]))
            do = draw(st.sampled_from(DOS[:4]))
            cases = (Case(compile_filter("tcp.len > 12"), do),) if draw(st.booleans()) else ()
            residual = Residual(key, SECOND_NS, draw(st.booleans()), () if cases else do, cases=cases)
        when = compile_filter(draw(st.sampled_from(WHENS)))
        made.append(Rule(f"rule-{number}", when, draw(st.sampled_from(DOS)), residual=residual))
    return tuple(made)


@st.composite
def readings(draw: st.DrawFn) -> TcpReading:
    return TcpReading(
        state_from=draw(st.sampled_from(StateFrom)),
        handshake=draw(st.integers(0, 3)) == 0,
        reassembly=draw(st.sampled_from(Reassembly)),
        checks_ack=draw(st.integers(0, 3)) == 0,
        checks_checksum=draw(st.booleans()),
        ends_on_rst=draw(st.booleans()),
        ends_on_fin=draw(st.booleans()),
        second_syn=draw(st.sampled_from(SecondSyn)),
        resync_on_rst=draw(st.sampled_from((0.0, 0.0, 0.5))),
        resync_on_refusal=draw(st.sampled_from((0.0, 0.0, 1.0))),
    )


class Talk:
    """One connection's packets, in a plausible order: lost, sent twice, cut, with changes of mind."""

    def __init__(self, rng: Random, port: int, *, bewilders: bool) -> None:
        """bewilders: now and then a SYN means nothing, for boxes that take none for another connection's."""
        self.rng = rng
        self.bewilders = bewilders
        self.client, self.server = rng.choice((V4, V4, V6))
        self.port, self.server_port = port, rng.choice((25, 80, 110, 143, 443, 465, 587))
        self.begin()
        self.step = 0 if rng.random() < 0.8 else 3  # some are older than the box

    def begin(self) -> None:
        self.step = 0
        self.seq = [self.rng.getrandbits(32), self.rng.getrandbits(32)]
        self.last: tuple[bytes, Direction, int] | None = None

    def next(self) -> tuple[bytes, Direction, int]:
        """(packet, who sends it, its TCP flags)"""
        if self.last is not None and self.rng.random() < 0.08:
            return self.last
        self.step += 1
        if self.step <= 3:
            direction = Direction.SERVER_TO_CLIENT if self.step == 2 else Direction.CLIENT_TO_SERVER
            made = self.make(direction, (SYN, SYN | ACK, ACK)[self.step - 1])
        elif self.rng.random() < 0.05:
            direction = self.rng.choice(tuple(Direction))
            made = self.make(direction, self.rng.choice((RST, RST | ACK, FIN | ACK)))
            if self.rng.random() < 0.7:
                self.begin()
        elif self.bewilders and self.rng.random() < 0.05:
            made = self.bewilder()
        else:
            direction = self.rng.choice(tuple(Direction))
            lines = TLS_RECORDS if self.rng.random() < 0.3 else (CLIENT_LINES, SERVER_LINES)[direction]
            payload = self.rng.choice(lines)
            if self.rng.random() < 0.2:
                payload = payload[: self.rng.randrange(1, len(payload) + 1)]
            made = self.make(direction, PSH | ACK, payload)
        self.last = made
        return made

    def bewilder(self) -> tuple[bytes, Direction, int]:
        """A SYN or SYN+ACK in the midst of it all, from either end, whose number means nothing."""
        direction = self.rng.choice(tuple(Direction))
        right, self.seq[direction] = self.seq[direction], self.rng.getrandbits(32)
        made = self.make(direction, self.rng.choice((SYN, SYN | ACK)))
        self.seq[direction] = right
        return made

    def make(self, direction: Direction, flags: int, payload: bytes = b"") -> tuple[bytes, Direction, int]:
        ends: dict[str, Any] = {
            "src": self.client, "dst": self.server, "sport": self.port, "dport": self.server_port,
        }  # fmt: skip
        if direction is Direction.SERVER_TO_CLIENT:
            ends = {"src": self.server, "dst": self.client, "sport": self.server_port, "dport": self.port}
        ack = self.seq[1 - direction] if flags & ACK else 0
        data = tcp_segment(
            **ends, seq=self.seq[direction], ack=ack, flags=flags, window=500, ttl=60, payload=payload
        )
        taken = len(payload) + bool(flags & SYN) + bool(flags & FIN)
        self.seq[direction] = (self.seq[direction] + taken) & 0xFFFFFFFF
        return data, direction, flags


class SeesAll(Engine):
    """Lets nothing go."""

    def _let_go(self, p: Packet, flow: Any, program: Any) -> Decision:
        self._live.find(p, flow, program)
        return Decision()


class Kernel:
    """What conntrack and the box's own iptables rules do with what an engine says about a connection.

    Control segments that the box acts on are shown as long as one direction is watched; always a SYN, and what may make
    the box read a connection anew (`kernel.py`).
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.renewing_flags = SYN | RST if plan_for(engine.deployment).renews else 0
        self.marks: dict[int, tuple[int, Offload]] = {}

    def has_let_go(self, port: int) -> bool:
        """Whether nothing of this connection is shown any more, until a SYN."""
        generation, offload = self.marks.get(port, (0, Offload.NONE))
        return generation == self.engine.generation and offload & Offload.PASS == Offload.PASS

    def show(
        self, port: int, data: bytes, direction: Direction, flags: int, now_ns: int
    ) -> tuple[Decision | None, Verdict]:
        """The engine's answer, None where it was not asked, and what becomes of the packet."""
        generation, offload = self.marks.get(port, (0, Offload.NONE))
        if flags & (SYN | ACK) == SYN or flags & self.renewing_flags or generation != self.engine.generation:
            offload = Offload.NONE
        if offload & 4 << direction:
            return None, Verdict.DROP
        watched = flags & CONTROL and offload & Offload.PASS != Offload.PASS
        if offload & 1 << direction and not watched:
            return None, Verdict.ACCEPT
        ingress = Side.INSIDE if direction is Direction.CLIENT_TO_SERVER else Side.OUTSIDE
        before = self.engine.generation
        decision = self.engine.handle(data, now_ns, ingress, direction)
        if self.engine.generation == before:
            self.marks[port] = (before, offload | decision.offload)
        return decision, decision.verdict


def matched(decision: Decision | None) -> list[tuple[str, str]]:
    kinds = ("rule_matched", "residual_hit", "residual_started", "packet_forged")
    events = decision.events if decision is not None else ()
    return [(event.kind, str(event.details["rule"])) for event in events if event.kind in kinds]


class Compared(NamedTuple):
    """The first packet at which the two engines differ, "" for none; how many packets the second one was spared."""

    difference: str
    spared: int


def compare(rules: tuple[Rule, ...], reading: TcpReading, seed: int, packets: int) -> Compared:
    """Play `packets` packets to both engines."""
    deployment = Deployment("d", (Phase(0, Profile("p", "", Placement.IN_PATH, rules, reading)),))
    all_seeing, kernel = SeesAll(deployment, Random(1), 0), Kernel(Engine(deployment, Random(1), 0))
    rng = Random(seed)
    bewilders = reading.second_syn is not SecondSyn.NEW
    talks = {port: Talk(rng, port, bewilders=bewilders) for port in range(40_000, 40_004)}
    spared = 0
    for number in range(packets):
        now_ns = number * SECOND_NS // 40
        port = rng.choice(tuple(talks))
        data, direction, flags = talks[port].next()
        ended = [e.kind for e in all_seeing.advance(now_ns)]
        assert [e.kind for e in kernel.engine.advance(now_ns)] == ended
        ingress = Side.INSIDE if direction is Direction.CLIENT_TO_SERVER else Side.OUTSIDE
        control = flags & CONTROL & ~kernel.renewing_flags
        if control and control != SYN and kernel.has_let_go(port):
            continue  # a connection that was let go is over for the box, however it ends
        expected = all_seeing.handle(data, now_ns, ingress, direction)
        decision, verdict = kernel.show(port, data, direction, flags, now_ns)
        spared += decision is None
        replacement = None if decision is None or verdict is Verdict.DROP else decision.replacement
        seen = (matched(decision), verdict, replacement)
        wanted = (matched(expected), expected.verdict, expected.replacement)
        if seen != wanted:
            return Compared(f"packet {number}, {data.hex()}: expected {wanted}, got {seen}", spared)
    return Compared("", spared)


@settings(max_examples=300)
@given(rules=rules(), reading=readings(), seed=st.integers(0, 1 << 32))
def test_engine_that_lets_go_matches_the_same_packets(
    rules: tuple[Rule, ...], reading: TcpReading, seed: int
) -> None:
    """What was handed to the kernel could not have matched, been punished or been dropped."""
    assert compare(rules, reading, seed, packets=80).difference == ""


@pytest.mark.deep
@pytest.mark.timeout(900)
@given(rules=rules(), reading=readings(), seed=st.integers(0, 1 << 32))
def test_engine_that_lets_go_matches_the_same_packets_for_long(
    rules: tuple[Rule, ...], reading: TcpReading, seed: int
) -> None:
    """The same with longer conversations, drawn anew in each run."""
    assert compare(rules, reading, seed, packets=300).difference == ""


def test_engine_lets_go_of_something_at_all() -> None:
    """The comparison means something: with an ordinary rule most packets never come to the engine."""
    when = compile_filter('tls.handshake.extensions_server_name contains "blocked"')
    compared = compare((Rule("sni", when, (Log(),)),), TcpReading(), seed=1, packets=2000)
    assert compared.difference == ""
    assert compared.spared > 500
