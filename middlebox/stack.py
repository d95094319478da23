"""Several boxes at one place, one behind the other: each has its own rules, its own way to read TCP and its own state.

The Great Firewall is such a place: its boxes for names, for mail and for DNS stand at the same hop and read TCP in
different ways (Bock20). To the edge a stack looks like one engine. A connection leaves user space when every box has
let go of it; until then only those that have not are shown its packets.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from struct import Struct
from typing import NamedTuple

from middlebox import packet as wire
from middlebox.decision import PASS, Decision, Forged, Offload, Verdict
from middlebox.engine import Engine
from middlebox.events import Event
from middlebox.flow import Direction, Side
from middlebox.packet import Packet
from middlebox.profile import Deployment
from middlebox.wants import borders, plan_for

CONNECTIONS_REMEMBERED = 200_000
"""Of which some boxes have let go and others not (chosen); the oldest is forgotten, and shown to all again."""

_ENDS = Struct("!HHB")

_PASS, _DROP = int(Offload.PASS), int(Offload.DROP)


class _LetGo(NamedTuple):
    """boxes: of each, from the inside to the outside, the bits of `Offload`: whole numbers, since every packet that
    comes here is looked up; answer: what follows from them for a packet about which no box says anything; asked: by the
    side that a packet comes from, the numbers of the boxes that want to see it, in the order in which it passes them.
    """

    boxes: tuple[int, ...]
    answer: Decision
    asked: Mapping[Side, tuple[int, ...]]


@cache
def _let_go(boxes: tuple[int, ...]) -> _LetGo:
    """One for all connections of which the same is known: what all boxes pass the kernel may pass, what one of them
    drops it may drop."""
    passed, dropped = _PASS, 0
    for offload in boxes:
        passed &= offload
        dropped |= offload & _DROP
    answer = Decision(offload=Offload(passed | dropped)) if passed | dropped else PASS
    wanting = tuple([number for number, offload in enumerate(boxes) if offload & _PASS != _PASS])
    return _LetGo(boxes, answer, {Side.INSIDE: wanting, Side.OUTSIDE: wanting[::-1]})


class Stack:
    """Engines in the order in which a packet from inside passes them. At least one."""

    def __init__(self, engines: Sequence[Engine]) -> None:
        self._engines = tuple(engines)
        self._let_go: dict[bytes, _LetGo] = {}
        self._generations = [engine.generation for engine in self._engines]
        self._take_up_wants(self.deployments)
        self.generation = 1
        self._undecoded = 0

    @property
    def deployments(self) -> tuple[Deployment, ...]:
        return tuple(engine.deployment for engine in self._engines)

    @property
    def undecoded(self) -> int:
        """Packets that passed because their headers cannot be read."""
        return self._undecoded + sum(engine.undecoded for engine in self._engines)

    @property
    def punishing(self) -> bool:
        """Whether a residual of some box is in force."""
        return any(engine.punishing for engine in self._engines)

    @property
    def next_change_ns(self) -> int | None:
        times = [time for engine in self._engines if (time := engine.next_change_ns) is not None]
        return min(times, default=None)

    def advance(self, now_ns: int) -> tuple[Event, ...]:
        happened = tuple(event for engine in self._engines for event in engine.advance(now_ns))
        self._note_generations()
        return happened

    def reload(self, deployments: Sequence[Deployment], now_ns: int) -> tuple[Event, ...]:
        """Each box takes up its own deployment; there are as many as there are boxes."""
        pairs = zip(self._engines, deployments, strict=True)
        happened = tuple(event for engine, deployment in pairs for event in engine.reload(deployment, now_ns))
        self._take_up_wants(deployments)
        self._note_generations()
        return happened

    def _take_up_wants(self, deployments: Iterable[Deployment]) -> None:
        self._wants = [plan_for(deployment).wants for deployment in deployments]
        self._borders = borders(want for wants in self._wants for want in wants)
        self._strangers: dict[tuple[int, int, int], _LetGo] = {}

    def handle(
        self,
        data: bytes,
        now_ns: int,
        ingress: Side,
        sent_by: Direction | None = None,
        *,
        first: bool = False,
        has_passed: bool = False,
    ) -> Decision:
        """As `Engine.handle`, for all boxes together. What one drops the next does not see."""
        if len(self._engines) == 1:
            decision = self._engines[0].handle(
                data, now_ns, ingress, sent_by, first=first, has_passed=has_passed
            )
            self.generation = self._engines[0].generation
            return decision
        p = wire.decode(data)
        if p is None:
            self._undecoded += 1
            return PASS
        key = _key_of(p)
        known = self._remembered(key, p, starts_anew=first or _is_syn(p))
        whole: _Answer | None = None  # most packets are answered as their connection is
        mine: Packet | None = p  # goes to the first box that is asked: each marks its own in its own way
        for number in known.asked[ingress]:
            decision = self._engines[number].handle(
                data, now_ns, ingress, sent_by, first=first, has_passed=has_passed, decoded=mine
            )
            mine = None
            if decision is PASS:
                continue
            if int(decision.offload) & ~known.boxes[number]:
                known = self._learned(key, known, number, decision.offload)
            if _says_no_more(decision):
                continue
            whole = whole or _Answer()
            whole.add(decision)
            data = decision.replacement or data
            if whole.verdict is Verdict.DROP:
                break
        if whole is None:
            return known.answer
        # Where that sets judged connections up for judgement again, the next packet asks.
        return whole.decision(Offload.NONE if self._note_generations() else known.answer.offload)

    def lead(self, data: bytes, now_ns: int, ingress: Side) -> Decision:
        """As `Engine.lead`: where the first box leads the connection that leads it anywhere."""
        said: list[Event] = []
        for engine in self._engines if ingress is Side.INSIDE else reversed(self._engines):
            decision = engine.lead(data, now_ns, ingress)
            said += decision.events
            if decision.redirect is not None:
                return Decision(events=tuple(said), redirect=decision.redirect)
        return Decision(events=tuple(said)) if said else PASS

    def _remembered(self, key: bytes, p: Packet, *, starts_anew: bool) -> _LetGo:
        """Who has let go of this connection so far; whom its ports do not concern has from the beginning."""
        if starts_anew:
            self._let_go.pop(key, None)
        elif (known := self._let_go.get(key)) is not None:
            return known
        alike = (p.protocol, bisect(self._borders, p.sport), bisect(self._borders, p.dport))
        strangers = self._strangers.get(alike)
        if strangers is None:
            concerned = (
                any(want.concerns(p.protocol, p.sport, p.dport) for want in wants) for wants in self._wants
            )
            strangers = self._strangers[alike] = _let_go(tuple(0 if one else _PASS for one in concerned))
        return strangers

    def _learned(self, key: bytes, known: _LetGo, number: int, offload: Offload) -> _LetGo:
        """What is known when this box has let go too; remembered as long as some box has not."""
        boxes = (*known.boxes[:number], known.boxes[number] | int(offload), *known.boxes[number + 1 :])
        now = _let_go(boxes)
        if now.answer.offload & _PASS == _PASS:
            self._let_go.pop(key, None)
            return now
        if key not in self._let_go and len(self._let_go) >= CONNECTIONS_REMEMBERED:
            del self._let_go[next(iter(self._let_go))]
        self._let_go[key] = now
        return now

    def _note_generations(self) -> bool:
        """Whether what was let go counts no more."""
        generations = [engine.generation for engine in self._engines]
        if generations == self._generations:
            return False
        self._generations = generations
        self._let_go.clear()
        self.generation += 1
        return True


def _says_no_more(decision: Decision) -> bool:
    """Whether all that it says is what the kernel may do from now on."""
    return decision.verdict is Verdict.ACCEPT and not (
        decision.events or decision.forged or decision.replacement or decision.hold_until_ns
    )


class _Answer:
    """The decisions of the boxes so far, as one."""

    __slots__ = ("verdict", "forged", "events", "data", "hold_until_ns")

    def __init__(self) -> None:
        self.verdict = Verdict.ACCEPT
        self.forged: tuple[Forged, ...] = ()
        self.events: tuple[Event, ...] = ()
        self.data: bytes | None = None
        self.hold_until_ns = 0

    def add(self, decision: Decision) -> None:
        self.verdict = decision.verdict
        self.forged += decision.forged
        self.events += decision.events
        self.data = decision.replacement or self.data
        self.hold_until_ns = max(self.hold_until_ns, decision.hold_until_ns)

    def decision(self, offload: Offload) -> Decision:
        if self.verdict is Verdict.ACCEPT and not (offload or self.forged or self.events or self.data):
            return PASS
        return Decision(self.verdict, offload, self.forged, self.events, self.data, self.hold_until_ns)


def name_of(deployments: Iterable[Deployment]) -> str:
    """What a stack of these is called, from the inside to the outside."""
    return " + ".join(deployment.name for deployment in deployments)


def _key_of(p: Packet) -> bytes:
    """The connection of a packet, the same whichever way it goes; bytes, as they need a fifth of what a tuple does."""
    if p.src < p.dst or (p.src == p.dst and p.sport <= p.dport):
        return p.src + p.dst + _ENDS.pack(p.sport, p.dport, p.protocol)
    return p.dst + p.src + _ENDS.pack(p.dport, p.sport, p.protocol)


def _is_syn(p: Packet) -> bool:
    return p.protocol == wire.PROTOCOL_TCP and p.flags & (wire.SYN | wire.ACK) == wire.SYN
