"""Carries out rules: the dice, the actions, the residual sentences, and the ground truth about all of them.

It has what must go on from packet to packet (counters of looks, who is punished); what becomes of one packet is
collected in its `Judgement`. Whether a rule matches is decided before, in `engine`.
"""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from middlebox import events
from middlebox.actions import passes, plan
from middlebox.actions.rewrite import rewritten_payload
from middlebox.decision import Offload, Verdict
from middlebox.dissect.base import Fields
from middlebox.events import Event
from middlebox.flow import Direction
from middlebox.forge import Forger, Occasion
from middlebox.judgement import Judgement
from middlebox.marks import HostMarks
from middlebox.policer import Policer
from middlebox.profile import Action, Mark, Rewrite, Rule, Throttle
from middlebox.residual import ResidualTable, Sentence, key_of
from middlebox.translation import Translation

if TYPE_CHECKING:  # the dice are handed in; the core imports none
    from random import Random


class Enforcement:
    """The acting half of a box. `stats` is the engine's, counted into."""

    def __init__(self, rng: Random, stats: Tally[str]) -> None:
        self.residuals = ResidualTable()
        self.marks = HostMarks()
        self._rng = rng
        self._forger = Forger(rng)
        self._stats = stats

    def carry_out(self, rule: Rule, judgement: Judgement, fields: Fields) -> bool:
        """Do what a rule says whose filter matched. True: a residual has begun, so others may be concerned now."""
        flow = judgement.flow
        acts = rule.probability >= 1.0 or self._rng.random() < rule.probability
        self._stats["matched"] += 1
        judgement.events.append(
            events.rule_matched(
                judgement.now_ns,
                flow.name,
                rule=rule.name,
                profile=judgement.profile,
                direction=flow.direction,
                trigger=judgement.trigger,
                actions=[type(action).__name__.lower() for action in rule.do],
                acted=acts,
                fields=_jsonable(fields),
            )
        )
        if not acts:
            return False
        self._act(rule, rule.do, judgement)
        if rule.residual is None:
            return False
        key = key_of(rule.residual.key, judgement.packet, flow.ingress, flow.direction)
        sentence = self.residuals.start(rule, judgement.profile, key, judgement.now_ns)
        judgement.events.append(_residual_event("residual_started", sentence, judgement))
        return True

    def punish(self, sentence: Sentence, judgement: Judgement) -> None:
        """Do to this packet what the residual of an earlier match says."""
        assert sentence.rule.residual is not None
        judgement.events.append(_residual_event("residual_hit", sentence, judgement))
        self._act(sentence.rule, sentence.rule.residual.do, judgement)

    def keep_blocked(self, rule: Rule, judgement: Judgement) -> None:
        """Nothing of this direction passes any more; the kernel may see to that."""
        self._drop(rule, judgement)
        to_server, to_client = judgement.flow.blocked
        judgement.offload |= Offload.DROP_CLIENT_TO_SERVER if to_server else Offload.NONE
        judgement.offload |= Offload.DROP_SERVER_TO_CLIENT if to_client else Offload.NONE

    def drop_again(self, rule: Rule, judgement: Judgement) -> None:
        """The same bytes again that were dropped before: a retransmission."""
        self._drop(rule, judgement)

    def end_due(self, now_ns: int) -> list[Event]:
        """Let go of those whose time is over."""
        return [
            events.residual_changed(
                "residual_ended",
                now_ns,
                None,
                rule=s.rule.name,
                profile=s.profile,
                key=s.words,
                until_ns=s.until_ns,
            )
            for s in self.residuals.end_due(now_ns)
        ]

    def _act(self, rule: Rule, actions: tuple[Action, ...], judgement: Judgement) -> None:
        flow, packet = judgement.flow, judgement.packet
        goes_on = judgement.verdict is Verdict.ACCEPT and passes(actions, judgement.program.profile.placement)
        occasion = Occasion(packet, flow, flow.direction, judgement.now_ns, goes_on)
        planned = plan(actions, self._forger, occasion)
        for direction, forged in planned.forged:
            judgement.forge(rule, direction, forged)
        self._stats["forged"] += len(planned.forged)
        for mark in planned.marks:
            self._remember(mark, judgement)
        if planned.rewrites and goes_on:
            self._rewrite(rule, planned.rewrites, judgement)
        if planned.hold_ns:
            judgement.hold(rule, judgement.now_ns + planned.hold_ns)
        if planned.throttle is not None and flow.policer is None:
            self._throttle(rule, planned.throttle, judgement)
        if planned.drop:
            flow.halves[flow.direction].remember_drop(packet, rule)
            flow.blocked = (
                rule if Direction.CLIENT_TO_SERVER in planned.block else flow.blocked[0],
                rule if Direction.SERVER_TO_CLIENT in planned.block else flow.blocked[1],
            )
            self._drop(rule, judgement)

    def treat(self, judgement: Judgement) -> None:
        """What is done to every packet of a connection that is policed or translated, after the rules."""
        flow, packet = judgement.flow, judgement.packet
        if judgement.verdict is Verdict.DROP:
            return
        policer = flow.policer
        if policer is not None and not policer.lets_pass(len(packet.data), flow.direction, judgement.now_ns):
            self._drop(policer.rule, judgement)
        elif flow.translation is not None and judgement.replacement is None:
            judgement.replacement = flow.translation.apply(packet, flow.direction)

    def _rewrite(self, rule: Rule, rewrites: list[Rewrite], judgement: Judgement) -> None:
        """Change the packet; from the first change of length on the connection's numbers are translated."""
        flow, packet = judgement.flow, judgement.packet
        payload, flags = packet.payload, None
        for rewrite in rewrites:
            payload = rewritten_payload(rewrite, payload)
            flags = rewrite.flags if rewrite.flags is not None else flags
        if payload == packet.payload and flags is None:
            return
        translation = flow.translation or Translation()
        if len(payload) != len(packet.payload):
            flow.translation = translation
        replacement = translation.apply(packet, flow.direction, payload=payload, flags=flags)
        if replacement is not None:
            self._stats["rewritten"] += 1
            judgement.rewrite(rule, replacement)

    def _throttle(self, rule: Rule, throttle: Throttle, judgement: Judgement) -> None:
        rate = self._forger.draw(throttle.rate_bits_per_s, of=throttle)
        flow = judgement.flow
        flow.policer = Policer(rule, rate, throttle.burst_bytes, throttle.directions, judgement.now_ns)
        judgement.events.append(
            events.throttle_started(
                judgement.now_ns, flow.name, rule=rule.name, profile=judgement.profile, rate_bits_per_s=rate
            )
        )

    def _remember(self, mark: Mark, judgement: Judgement) -> None:
        flow = judgement.flow
        if not mark.key:
            flow.own_marks |= {mark.word}
            flow.marks |= {mark.word}
            return
        key = key_of(mark.key, judgement.packet, flow.ingress, flow.direction)
        self.marks.set(mark, key, judgement.now_ns)

    def _drop(self, rule: Rule, judgement: Judgement) -> None:
        self._stats["dropped"] += 1
        judgement.drop(rule)


def _residual_event(kind: str, sentence: Sentence, judgement: Judgement) -> Event:
    return events.residual_changed(
        kind,
        judgement.now_ns,
        judgement.flow.name,
        rule=sentence.rule.name,
        profile=sentence.profile,
        key=sentence.words,
        until_ns=sentence.until_ns,
    )


def _jsonable(fields: Fields) -> dict[str, list[int | str | bool]]:
    return {name: [v.hex() if isinstance(v, bytes) else v for v in values] for name, values in fields.items()}
