"""Which rules a connection can still meet, and so which of its directions the kernel may pass without asking.

What is let go here is never seen again, so it must be certain: a direction goes only when no rule can match any of its
later packets, and when nobody needs to see it to understand or to treat the other one.
"""

from __future__ import annotations

from middlebox.decision import PASS, Decision, Offload
from middlebox.dissect.base import NOTHING_ALIVE
from middlebox.flow import Direction
from middlebox.flowtable import Flow
from middlebox.packet import Packet
from middlebox.profile import Drop, DropScope, Rewrite, Rule, Throttle
from middlebox.program import Program

_REMEMBERED = 4096
"""Different sets of live rules (chosen); most connections have one of a few."""

RuleSets = tuple[tuple[Rule, ...], tuple[Rule, ...]]
"""By direction."""


class LiveRules:
    """`rules`: by direction, those that a later packet could still match. `answer`: what to say to a packet about
    which there is nothing else to say."""

    __slots__ = ("answer", "rules")

    def __init__(self, rules: RuleSets, *, coupled: bool) -> None:
        self.rules = rules
        self.answer = PASS
        to_server, to_client = rules
        if not to_server and not to_client:
            self.answer = Decision(offload=Offload.PASS)
        elif not (to_server and to_client or coupled or any(map(_treats_both, to_server + to_client))):
            lets_go = Offload.PASS_SERVER_TO_CLIENT if to_server else Offload.PASS_CLIENT_TO_SERVER
            self.answer = Decision(offload=lets_go)

    @property
    def over(self) -> bool:
        """Nothing can match any more."""
        return self.rules == ((), ())


class LiveRulesTable:
    """One copy of each set of live rules."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[RuleSets, bool], LiveRules] = {}

    def find(self, p: Packet, flow: Flow, program: Program) -> LiveRules:
        """The live rules of the connection of `p`, kept there too until something changes."""
        here, ingress = flow.direction, flow.ingress
        there = here.opposite
        alive = flow.alive or NOTHING_ALIVE
        ours = tuple([rule for rule in program.rules[here] if rule.when.may_match(p, flow, alive[here])])
        theirs = program.rules[there]
        if theirs:
            # Only what all packets of a direction have in common is looked at: their ends.
            flow.direction, flow.ingress = there, ingress.opposite
            p.src, p.sport, p.dst, p.dport = p.dst, p.dport, p.src, p.sport
            theirs = tuple([rule for rule in theirs if rule.when.may_match(p, flow, alive[there])])
            p.src, p.sport, p.dst, p.dport = p.dst, p.dport, p.src, p.sport
            flow.direction, flow.ingress = here, ingress
        rules = (theirs, ours) if here else (ours, theirs)
        dissector = flow.dissector
        coupled = program.couples_directions or (dissector is not None and dissector.couples_directions)
        live = self._known.get((rules, coupled))
        if live is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            live = self._known[rules, coupled] = LiveRules(rules, coupled=coupled)
        if not (program.may_lose_count and flow.lost_count):
            flow.live, flow.live_for = live, flow.alive
        return live


def blocked_directions(flow: Flow) -> Offload:
    """What the kernel may drop of a connection by itself."""
    to_server, to_client = flow.blocked
    return (Offload.DROP_CLIENT_TO_SERVER if to_server else Offload.NONE) | (
        Offload.DROP_SERVER_TO_CLIENT if to_client else Offload.NONE
    )


def offload_of_stopped(flow: Flow, live: LiveRules) -> Offload:
    """What the kernel may do with a connection of which something was dropped: the same bytes may come again."""
    offload = live.answer.offload | blocked_directions(flow)
    for direction in Direction:
        if flow.blocked[direction] is not None or flow.halves[direction].dropped:
            offload &= ~Offload(1 << direction)
    return offload


def _treats_both(rule: Rule) -> bool:
    """Whether a match changes what is done to packets of the other direction."""
    return any(
        isinstance(action, Throttle | Rewrite)
        or (isinstance(action, Drop) and action.scope is DropScope.FLOW)
        for action in rule.do
    )
