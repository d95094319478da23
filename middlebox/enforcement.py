"""Carries out rules: the dice, the actions, the residual sentences, and the ground truth about all of them.

It has what must go on from packet to packet (counters of looks, who is punished); what becomes of one packet is
collected in its `Judgement`. Whether a rule matches is decided before, in `engine`.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from middlebox import events
from middlebox.actions import passes, plan
from middlebox.actions.rewrite import rewritten_payload
from middlebox.decision import Decision, Offload, Verdict
from middlebox.dissect.base import Fields
from middlebox.events import Event
from middlebox.flow import Direction
from middlebox.forge import Forger, Occasion
from middlebox.judgement import Judgement
from middlebox.live_rules import blocked_directions
from middlebox.marks import HostMarks
from middlebox.packet import SYN
from middlebox.policer import Policer
from middlebox.profile import Action, Mark, Redirect, Rewrite, Rule, Throttle, Unmark
from middlebox.reading import fresh_payload
from middlebox.residual import ResidualTable, Sentence, key_of
from middlebox.translation import Translation

if TYPE_CHECKING:  # the dice are handed in; the core imports none
    from random import Random


class Enforcement:
    """The acting half of a box."""

    def __init__(self, rng: Random) -> None:
        self.residuals = ResidualTable()
        self.marks = HostMarks()
        # Rules share dice that nothing else throws, once a match: how much is forged depends on how busy the ends are,
        # and must not decide who is let off.
        self._rng = rng
        self._other_dice = copy(rng)
        self._other_dice.seed(self._other_dice.getrandbits(64))
        self._forger = Forger(self._other_dice)

    def note_match(self, rule: Rule, judgement: Judgement, fields: Fields) -> None:
        """Write down that a filter matched, throw the rule's dice, and remember its marks for the rules after it."""
        flow = judgement.flow
        acts = rule.probability >= 1.0 or self._rng.random() < rule.probability
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
        if acts:
            judgement.acting.append(rule)
            self._remember(rule.do, judgement)

    def chance(self, share: float) -> bool:
        """Throw other dice than those of rules."""
        return share > 0 and self._other_dice.random() < share

    def carry_out(self, judgement: Judgement) -> bool:
        """Do what the rules say that act on this packet. True: a residual has begun, so others may be concerned now."""
        acting = judgement.acting
        self._act([(rule, rule.do) for rule in acting], judgement)
        starting = [rule for rule in acting if rule.residual is not None]
        for rule in starting:
            assert rule.residual is not None
            flow = judgement.flow
            key = key_of(rule.residual.key, judgement.packet, flow.ingress, flow.direction)
            after_ns = self._forger.delay_ns(rule.residual.after)
            sentence, pushed_out = self.residuals.start(
                rule, judgement.profile, key, flow.ingress, judgement.now_ns, after_ns
            )
            if pushed_out is not None:
                judgement.events.append(_ended(pushed_out, judgement.now_ns))
            judgement.events.append(_residual_event("residual_started", sentence, judgement))
            judgement.offload = Offload.NONE  # every packet of its like has to be seen from now on
        return bool(starting)

    def lead(self, judgement: Judgement) -> Decision:
        """Where the connection goes that this packet begins: where the first rule leads it that acts."""
        p, flow = judgement.packet, judgement.flow
        for rule in judgement.program.redirects:
            target = next(action for action in rule.do if isinstance(action, Redirect))
            to = target.address(p.version)
            if not to or rule.direction is Direction.SERVER_TO_CLIENT or not rule.when.matches(p, flow, {}):
                continue
            self.note_match(rule, judgement, {})
            if not judgement.acting:
                continue
            judgement.events.append(
                events.connection_redirected(
                    judgement.now_ns, flow.name, rule=rule.name, profile=judgement.profile,
                    to=to, to_port=target.port or p.dport,
                )
            )  # fmt: skip
            return Decision(events=tuple(judgement.events), redirect=target)
        return judgement.decision()

    def punish(self, sentence: Sentence, judgement: Judgement) -> None:
        """Do to this packet what the residual of an earlier match says."""
        begun = judgement.now_ns >= sentence.begins_ns
        actions = sentence.actions_on(judgement.packet, judgement.flow) if begun else None
        if actions:
            judgement.events.append(_residual_event("residual_hit", sentence, judgement))
            self._remember(actions, judgement)
            self._act([(sentence.rule, actions)], judgement)

    def keep_stopped(self, judgement: Judgement) -> bool:
        """Drop what may not pass because of an earlier packet: its direction is blocked, or its bytes were dropped
        once. False: it may pass. The kernel may keep up a block, unless every packet has to be seen to be punished."""
        flow = judgement.flow
        blocked_by = flow.blocked[flow.direction]
        rule = blocked_by or flow.halves[flow.direction].dropped_by(judgement.packet)
        if rule is None:
            return False
        judgement.drop(rule)
        if blocked_by is not None and not judgement.punished:
            judgement.offload |= blocked_directions(flow)
        return True

    def start_over(self) -> None:
        """Other rules are in force: nobody is punished, marked or counted by the old ones."""
        self.residuals.clear()
        self.marks.clear()
        self._forger.start_over()

    def end_due(self, now_ns: int) -> list[Event]:
        """Let go of those whose time is over."""
        return [_ended(sentence, now_ns) for sentence in self.residuals.end_due(now_ns)]

    def _act(self, todo: list[tuple[Rule, tuple[Action, ...]]], judgement: Judgement) -> None:
        """What all rules together want decides first whether the packet passes: the numbers of what is forged and the
        counts of what is changed depend on it."""
        flow, packet = judgement.flow, judgement.packet
        placement = judgement.program.profile.placement
        goes_on = all(passes(actions, placement) for _, actions in todo)
        if goes_on:
            self._rewrite(todo, judgement)
        occasion = Occasion(packet, flow, flow.direction, judgement.now_ns, goes_on)
        for rule, actions in todo:
            planned = plan(actions, self._forger, occasion)
            for direction, forged in planned.forged:
                judgement.forge(rule, direction, forged)
            if planned.hold_ns:
                judgement.hold(rule, judgement.now_ns + planned.hold_ns)
            if planned.throttle is not None and flow.policer is None:
                self._throttle(rule, planned.throttle, judgement)
            if planned.drop:
                self._stop(rule, planned.block, judgement)

    def _stop(self, rule: Rule, block: set[Direction], judgement: Judgement) -> None:
        """Drop the packet, and see to it that neither its bytes nor the blocked directions pass later."""
        flow = judgement.flow
        judgement.drop(rule)
        # A sentence ends by itself: what it drops, or begins with, may pass afterwards.
        if judgement.punished or (rule.residual is not None and rule.residual.drops and not block):
            return
        flow.halves[flow.direction].remember_drop(judgement.packet, rule)
        flow.stopped = True
        if block:
            flow.block(rule, block)
            judgement.offload |= blocked_directions(flow)

    def treat(self, judgement: Judgement) -> None:
        """What is done to every packet of a connection that is policed or translated, after the rules."""
        flow, packet = judgement.flow, judgement.packet
        if judgement.verdict is Verdict.DROP:
            return
        policer = flow.policer
        if policer is not None and not policer.lets_pass(len(packet.data), flow.direction, judgement.now_ns):
            judgement.drop(policer.rule)
            return
        translation = flow.translation
        if translation is None and judgement.flags is None:
            return
        carried = (translation or Translation()).apply(packet, flow.direction, flags=judgement.flags)
        if carried is None:
            return
        judgement.replacement = carried.data
        flagged_by = () if judgement.flagged_by is None else (judgement.flagged_by,)
        for rule in dict.fromkeys((*carried.rules, *flagged_by)):
            judgement.note_rewritten(rule, carried.data)

    def _rewrite(self, todo: list[tuple[Rule, tuple[Action, ...]]], judgement: Judgement) -> None:
        """Note what is to be changed in the packet; `treat` changes it, now and whenever it is sent again."""
        flow, packet = judgement.flow, judgement.packet
        rewrites = [(rule, a) for rule, actions in todo for a in actions if isinstance(a, Rewrite)]
        if not rewrites:
            return
        old = new = fresh_payload(packet)
        changed_by = rewrites[0][0]
        for rule, rewrite in rewrites:
            if rewrite.flags is not None:
                judgement.flags = rewrite.flags
                judgement.flagged_by = rule
            if old and (changed := rewritten_payload(rewrite, new)) != new:
                new, changed_by = changed, rule
        if new == old:
            return
        if flow.translation is None:
            flow.translation = Translation()
            flow.treated = True
        start = (packet.seq + packet.payload_len - len(old) + bool(packet.flags & SYN)) & 0xFFFFFFFF
        flow.translation.edits[flow.direction].note(start, old, new, changed_by)

    def _throttle(self, rule: Rule, throttle: Throttle, judgement: Judgement) -> None:
        rate = self._forger.draw(throttle.rate_bits_per_s, of=throttle)
        flow = judgement.flow
        flow.policer = Policer(rule, rate, throttle.burst_bytes, throttle.directions, judgement.now_ns)
        flow.treated = True
        judgement.events.append(
            events.throttle_started(
                judgement.now_ns, flow.name, rule=rule.name, profile=judgement.profile, rate_bits_per_s=rate
            )
        )

    def _remember(self, actions: tuple[Action, ...], judgement: Judgement) -> None:
        flow = judgement.flow
        for action in actions:
            match action:
                case Mark(word, ()):
                    flow.own_marks |= {word}
                case Mark(word, parts):
                    self.marks.set(
                        action,
                        key_of(parts, judgement.packet, flow.ingress, flow.direction),
                        judgement.now_ns,
                    )
                case Unmark(word):
                    flow.own_marks -= {word}
                    flow.marks -= {word}
                    continue
                case _:
                    continue
            flow.marks |= {word}


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


def _ended(sentence: Sentence, now_ns: int) -> Event:
    return events.residual_changed(
        "residual_ended",
        now_ns,
        None,
        rule=sentence.rule.name,
        profile=sentence.profile,
        key=sentence.words,
        until_ns=sentence.until_ns,
    )


def _jsonable(fields: Fields) -> dict[str, list[int | str | bool]]:
    return {name: [v.hex() if isinstance(v, bytes) else v for v in values] for name, values in fields.items()}
