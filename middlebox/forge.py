"""From a look to packets: works out every field of a group of forged segments.

Computes, never sends. The dice are handed in; what must go on from packet to packet (counters) lives in `Forger`.
Sources for what the fields mean: RFC 9293 3.10.7 (which RST an end accepts), RFC 5961 (exact match or challenge).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

from middlebox import packet as wire
from middlebox.decision import Forged
from middlebox.flow import Direction
from middlebox.flowtable import Flow
from middlebox.packet import Packet
from middlebox.profile import (
    AckFrom,
    Computed,
    Constant,
    Copied,
    Counter,
    Look,
    Mirrored,
    Number,
    Quantiles,
    SeqFrom,
    Uniform,
)
from middlebox.seqnum import distance

if TYPE_CHECKING:  # the dice are handed in
    from random import Random


@dataclass(frozen=True, slots=True)
class Occasion:
    """What set a rule off. `passes`: whether the trigger goes on to its receiver, and so counts as sent."""

    trigger: Packet
    flow: Flow
    direction: Direction
    now_ns: int
    passes: bool


class Forger:
    """Makes forged segments. One for the life of a box: its counters go on from trigger to trigger."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._counters: dict[tuple[int, str], int] = {}

    def segments(self, look: Look, occasion: Occasion, direction: Direction) -> list[Forged]:
        """`look.count` packets that travel in `direction`, as if the end on that side had sent them."""
        send_at_ns = occasion.now_ns + self._delay_ns(look.delay)
        forged: list[Forged] = []
        for index in range(look.count):
            if forged and look.identical:
                data = forged[0].data
            else:
                data = self._segment(look, occasion, direction, index)
            forged.append(Forged(data, send_at_ns + index * look.spacing_ns))
        return forged

    def _segment(self, look: Look, occasion: Occasion, direction: Direction, index: int) -> bytes:
        trigger = occasion.trigger
        src, sport, dst, dport = occasion.flow.key
        if direction is Direction.SERVER_TO_CLIENT:
            src, sport, dst, dport = dst, dport, src, sport
        expected_seq, expected_ack = expected_numbers(occasion, direction)
        values = {
            "index": index,
            "sport": sport & 0xFFFF,
            "dport": dport & 0xFFFF,
            "trigger_ttl": trigger.ttl,
            "trigger_ip_id": trigger.ip_id or 0,
            "trigger_window": trigger.window,
            "draw": self._rng.randrange(1 << 16),
        }
        window = self._number(look, "window", look.window, values, trigger.window) & 0xFFFF
        values["window"] = window
        ttl = max(0, min(255, self._number(look, "ttl", look.ttl, values, trigger.ttl)))
        values["ttl"] = ttl
        offset = look.seq_offsets[min(index, len(look.seq_offsets) - 1)]
        seq = (self._seq(look, occasion, values, expected_seq) + offset) & 0xFFFFFFFF
        values["seq"] = seq
        return wire.tcp_segment(
            src=src,
            dst=dst,
            sport=sport & 0xFFFF,
            dport=dport & 0xFFFF,
            seq=seq,
            ack=self._ack(look, occasion, values, expected_ack) & 0xFFFFFFFF,
            flags=look.flags,
            window=window,
            ttl=ttl,
            ip_id=self._number(look, "ip_id", look.ip_id, values, trigger.ip_id or 0) & 0xFFFF,
            dont_fragment=look.dont_fragment,
            tos=look.tos,
            options=look.options,
            payload=look.payload,
        )

    def _seq(self, look: Look, occasion: Occasion, values: dict[str, int], expected: int) -> int:
        match look.seq:
            case SeqFrom.EXPECTED:
                return expected
            case SeqFrom.COPIED:
                return occasion.trigger.seq
            case SeqFrom.TRIGGER_ACK:
                return occasion.trigger.ack
            case number:
                return self._number(look, "seq", number, values, occasion.trigger.seq)

    def _ack(self, look: Look, occasion: Occasion, values: dict[str, int], expected: int) -> int:
        match look.ack:
            case AckFrom.EXPECTED:
                return expected if look.flags & wire.ACK else 0
            case AckFrom.COPIED:
                return occasion.trigger.ack
            case AckFrom.ZERO:
                return 0
            case number:
                return self._number(look, "ack", number, values, occasion.trigger.ack)

    def _number(self, look: Look, name: str, number: Number, values: dict[str, int], copied: int) -> int:
        match number:
            case Constant(value):
                return value
            case Uniform(low, high):
                return self._rng.randint(low, high)
            case Copied() | Mirrored():
                return copied
            case Computed(expression):
                return expression.evaluate(values)
            case Counter(start, step, modulo, "group"):
                return (start + step * values["index"]) % modulo
            case Counter(start, step, modulo):
                value = self._counters.get((id(look), name), start % modulo)
                self._counters[id(look), name] = (value + step) % modulo
                return value

    def _delay_ns(self, delay: int | Quantiles) -> int:
        if isinstance(delay, int):
            return delay
        return quantile(delay, self._rng.random())


def quantile(distribution: Quantiles, share: float) -> int:
    """The delay below which `share` (0..1) of all lie, linear between the published points."""
    points = distribution.points
    above = min(bisect_right(points, share, key=lambda point: point[0]), len(points) - 1)
    (low_share, low_ns), (high_share, high_ns) = points[above - 1], points[above]
    return round(low_ns + (high_ns - low_ns) * (share - low_share) / (high_share - low_share))


def expected_numbers(occasion: Occasion, direction: Direction) -> tuple[int, int]:
    """(seq, ack) that the receiver of a segment in `direction` takes for the next one in order.

    Both ends are read where the box stands: what has passed it counts as received, since a forged packet travels
    behind it. Without any clue (a SYN was all there was) the sequence number is 0.
    """
    trigger = occasion.trigger
    sender, receiver = occasion.flow.halves[direction], occasion.flow.halves[1 - direction]
    if occasion.direction == direction:
        length = trigger.segment_len if occasion.passes else 0
        seq = (trigger.seq + length) & 0xFFFFFFFF
        if occasion.passes:
            seq = _later(seq, sender.next_seq)
        ack = _later(trigger.ack if trigger.flags & wire.ACK else None, receiver.next_seq)
        return seq, ack or 0
    acknowledged = trigger.ack if trigger.flags & wire.ACK else None
    if acknowledged is None and sender.next_seq is None:
        return 0, (trigger.seq + trigger.segment_len) & 0xFFFFFFFF
    seq = _later(acknowledged, sender.next_seq)
    return seq or 0, _later((trigger.seq + trigger.segment_len) & 0xFFFFFFFF, receiver.next_seq)


def _later(left: int | None, right: int | None) -> int:
    if left is None or right is None:
        return left if right is None and left is not None else right or 0
    return right if distance(left, right) > 0 else left
