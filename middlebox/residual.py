"""Who stays punished after a match: by which key, until when.

A bounded table; entries end by themselves when their time is over, the oldest goes first when there is no room.
Durations and keys of real systems: WOOT21, Wang17, SP25.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from middlebox.filters import FlowView
from middlebox.flow import Direction, Side
from middlebox.packet import Packet
from middlebox.profile import Action, Drop, DropScope, KeyPart, PortBlock, Rule

Key = tuple[bytes | int, ...]


@dataclass(slots=True)
class Sentence:
    """One entry: everything with this key is punished by `rule` from then until then. `ingress`: where its trigger
    came in."""

    rule: Rule
    profile: str
    key: Key
    until_ns: int
    ingress: Side
    begins_ns: int = 0

    def actions_on(self, p: Packet, view: FlowView) -> tuple[Action, ...] | None:
        """What is done to this packet; None: it is let alone. `drop: direction` means the direction of the trigger."""
        residual = self.rule.residual
        assert residual is not None
        actions: tuple[Action, ...] | None = residual.do
        if residual.cases:
            actions = next((case.do for case in residual.cases if case.when.matches(p, view, {})), None)
        if actions is None or view.ingress is self.ingress:
            return actions
        return tuple(a for a in actions if not (isinstance(a, Drop) and a.scope is DropScope.DIRECTION))

    @property
    def words(self) -> list[str]:
        """The key for people: `inside_ip=192.0.2.11`."""
        assert self.rule.residual is not None
        return [
            f"{part.value}={ip_address(value) if isinstance(value, bytes) else value}"
            for part, value in zip(self.rule.residual.key, self.key, strict=True)
        ]


def key_of(parts: tuple[KeyPart | PortBlock, ...], p: Packet, ingress: Side, sent_by: Direction) -> Key:
    """The values of a key's parts in this packet."""
    return tuple([_part(part, p, ingress, sent_by) for part in parts])


def _part(part: KeyPart | PortBlock, p: Packet, ingress: Side, sent_by: Direction) -> bytes | int:
    match part:
        case PortBlock(port, size):
            number = _part(port, p, ingress, sent_by)
            assert isinstance(number, int)
            return number // size
        case KeyPart.INSIDE_IP:
            return p.src if ingress is Side.INSIDE else p.dst
        case KeyPart.OUTSIDE_IP:
            return p.dst if ingress is Side.INSIDE else p.src
        case KeyPart.INSIDE_PORT:
            return p.sport if ingress is Side.INSIDE else p.dport
        case KeyPart.OUTSIDE_PORT:
            return p.dport if ingress is Side.INSIDE else p.sport
        case KeyPart.CLIENT_IP:
            return p.src if sent_by is Direction.CLIENT_TO_SERVER else p.dst
        case KeyPart.SERVER_IP:
            return p.dst if sent_by is Direction.CLIENT_TO_SERVER else p.src
        case KeyPart.CLIENT_PORT:
            return p.sport if sent_by is Direction.CLIENT_TO_SERVER else p.dport
        case KeyPart.SERVER_PORT:
            return p.dport if sent_by is Direction.CLIENT_TO_SERVER else p.sport


class ResidualTable:
    """The sentences in force. Each rule has entries of its own, in the order in which they end.

    `in_force`: whether there are any.
    """

    def __init__(self) -> None:
        self._by_rule: dict[int, tuple[Rule, dict[Key, Sentence]]] = {}
        self.in_force = False

    def start(
        self, rule: Rule, profile: str, key: Key, ingress: Side, now_ns: int, after_ns: int = 0
    ) -> tuple[Sentence, Sentence | None]:
        """Punish `key`, `after_ns` from now; an entry that is there already starts anew. Also returned: the oldest one,
        where it had to go for want of room."""
        assert rule.residual is not None
        _, sentences = self._by_rule.setdefault(id(rule), (rule, {}))
        sentences.pop(key, None)
        pushed_out = None
        if len(sentences) >= rule.residual.capacity:
            pushed_out = sentences.pop(next(iter(sentences)))
        until_ns = now_ns + rule.residual.duration_ns
        sentence = sentences[key] = Sentence(rule, profile, key, until_ns, ingress, now_ns + after_ns)
        self.in_force = True
        return sentence, pushed_out

    def find(self, p: Packet, view: FlowView, profile: str, now_ns: int) -> Sentence | None:
        """The first sentence of this profile that covers this packet, says what to do with it, and is not over; renewed
        when its rule says so. One that has not begun says that there is nothing to do."""
        for sentences, sentence in self._covering(p, view, profile, now_ns):
            if now_ns < sentence.begins_ns:
                return sentence
            if sentence.actions_on(p, view) is not None:
                residual = sentence.rule.residual
                assert residual is not None
                if residual.refresh:
                    sentence.until_ns = now_ns + residual.duration_ns
                    sentences[sentence.key] = sentences.pop(sentence.key)  # it ends last now
                return sentence
        return None

    def covers(self, p: Packet, view: FlowView, profile: str, now_ns: int) -> bool:
        """Whether a sentence covers the connection of this packet, even if it leaves this one alone."""
        return any(True for _ in self._covering(p, view, profile, now_ns))

    def _covering(
        self, p: Packet, view: FlowView, profile: str, now_ns: int
    ) -> Iterator[tuple[dict[Key, Sentence], Sentence]]:
        for rule, sentences in self._by_rule.values():
            assert rule.residual is not None
            sentence = sentences.get(key_of(rule.residual.key, p, view.ingress, view.direction))
            if sentence is not None and now_ns < sentence.until_ns and sentence.profile == profile:
                yield sentences, sentence

    def end_due(self, now_ns: int) -> Iterator[Sentence]:
        """Take out and yield what is over."""
        for rule_id, (_, sentences) in list(self._by_rule.items()):
            while sentences and (first := next(iter(sentences.values()))).until_ns <= now_ns:
                yield sentences.pop(first.key)
            if not sentences:
                del self._by_rule[rule_id]
        self.in_force = bool(self._by_rule)

    @property
    def next_end_ns(self) -> int | None:
        """When the next sentence is over, None when nobody is punished."""
        firsts = [next(iter(sentences.values())) for _, sentences in self._by_rule.values()]
        return min([sentence.until_ns for sentence in firsts], default=None)

    def clear(self) -> None:
        """Forget everybody, as a box does that loads other rules."""
        self._by_rule.clear()
        self.in_force = False
