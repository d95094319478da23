"""From a look to packets: works out every field of a group of forged segments.

Computes, never sends. The dice are handed in; what must go on from packet to packet (counters) lives in `Forger`.
Sources for what the fields mean: RFC 9293 3.10.7 (which RST an end accepts), RFC 5961 (exact match or challenge).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from middlebox import packet as wire
from middlebox.decision import Forged
from middlebox.flow import Direction
from middlebox.flowtable import Flow
from middlebox.look import (
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
from middlebox.packet import Packet
from middlebox.seqnum import distance

if TYPE_CHECKING:  # the dice are handed in
    from random import Random
from struct import Struct


@dataclass(frozen=True, slots=True)
class Occasion:
    """What set a rule off. `passes`: whether the trigger goes on to its receiver, and so counts as sent.

    `ahead`: by direction, how far what was forged on this occasion has moved the numbers that its receiver expects.
    `luck`: the one share by which all delays of this occasion are drawn, as soon as one is: what several injectors make
    of one packet is late together, so that the first of it comes as it was measured.
    """

    trigger: Packet
    flow: Flow
    direction: Direction
    now_ns: int
    passes: bool
    ahead: list[int] = field(default_factory=lambda: [0, 0])
    luck: list[float] = field(default_factory=list)


ICMP_QUOTE_BYTES = 28
"""The IP header and 8 bytes, as RFC 792 asks for."""
ICMP6_QUOTE_BYTES = 1232
"""As much as fits the minimum MTU of 1280 (RFC 4443 2.4)."""

_PORTS_LENGTH = Struct("!HHH")


class Forger:
    """Makes forged segments. One for the life of a box: its counters go on from trigger to trigger."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._counters: dict[tuple[int, int], int] = {}

    def start_over(self) -> None:
        """Counters of profiles that are no longer in force are forgotten."""
        self._counters.clear()

    def segments(self, look: Look, occasion: Occasion, direction: Direction) -> list[Forged]:
        """`look.count` packets that travel in `direction`, as if the end on that side had sent them."""
        send_at_ns = occasion.now_ns + self.delay_ns(look.delay, occasion.luck)
        group_draw = self._rng.randrange(1 << 16)
        forged: list[Forged] = []
        for index in range(look.count):
            if forged and look.identical:
                data = forged[0].data
            else:
                data = self._segment(look, occasion, direction, index, group_draw)
            forged.append(Forged(data, send_at_ns + index * look.spacing_ns))
        return forged

    def _segment(
        self, look: Look, occasion: Occasion, direction: Direction, index: int, group_draw: int
    ) -> bytes:
        trigger = occasion.trigger
        src, sport, dst, dport = occasion.flow.ends(direction)
        expected_seq, expected_ack = expected_numbers(occasion, direction)
        values = self._values(occasion, direction, index, group_draw)
        window = self._number(look.window, values, trigger.window) & 0xFFFF
        values["window"] = window
        ttl = self._ttl(look, values, trigger)
        offset = look.seq_offsets[min(index, len(look.seq_offsets) - 1)]
        seq = (self._seq(look, occasion, direction, values, expected_seq) + offset) & 0xFFFFFFFF
        values["seq"] = seq
        return wire.tcp_segment(
            src=src,
            dst=dst,
            sport=sport,
            dport=dport,
            seq=seq,
            ack=self._ack(look, occasion, values, expected_ack) & 0xFFFFFFFF,
            flags=look.flags,
            window=window,
            ttl=ttl,
            ip_id=self._number(look.ip_id, values, trigger.ip_id or 0) & 0xFFFF,
            dont_fragment=look.dont_fragment,
            tos=look.tos,
            options=look.options,
            payload=look.payload,
        )

    def _seq(
        self, look: Look, occasion: Occasion, direction: Direction, values: dict[str, int], expected: int
    ) -> int:
        match look.seq:
            case SeqFrom.EXPECTED:
                return expected + occasion.ahead[direction]
            case SeqFrom.COPIED:
                return occasion.trigger.seq
            case SeqFrom.TRIGGER_ACK:
                return occasion.trigger.ack
            case number:
                return self._number(number, values, occasion.trigger.seq)

    def _ack(self, look: Look, occasion: Occasion, values: dict[str, int], expected: int) -> int:
        match look.ack:
            case AckFrom.EXPECTED:
                return expected if look.flags & wire.ACK else 0
            case AckFrom.COPIED:
                return occasion.trigger.ack
            case AckFrom.TRIGGER_SEQ:
                return occasion.trigger.seq
            case AckFrom.ZERO:
                return 0
            case number:
                return self._number(number, values, occasion.trigger.ack)

    def _values(
        self, occasion: Occasion, direction: Direction, index: int, group_draw: int
    ) -> dict[str, int]:
        """What an expression can name, as far as it is known before the packet's own fields."""
        trigger = occasion.trigger
        _, sport, _, dport = occasion.flow.ends(direction)
        from_client = direction is Direction.CLIENT_TO_SERVER
        return {
            "index": index,
            "sport": sport,
            "dport": dport,
            "client_port": sport if from_client else dport,
            "server_port": dport if from_client else sport,
            "group_draw": group_draw,
            "trigger_sport": trigger.sport,
            "trigger_dport": trigger.dport,
            "trigger_ttl": trigger.ttl,
            "trigger_ip_id": trigger.ip_id or 0,
            "trigger_window": trigger.window,
            "draw": self._rng.randrange(1 << 16),
        }

    def _ttl(self, look: Look, values: dict[str, int], trigger: Packet) -> int:
        values["ttl"] = max(0, min(255, self._number(look.ttl, values, trigger.ttl)))
        return values["ttl"]

    def _number(
        self, number: Number, values: dict[str, int], copied: int, owner: object | None = None
    ) -> int:
        """One number. owner: whose a counter is that is no part of the profile."""
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
            case Counter(start, step, modulo, _, each, of):
                key = (id(number if owner is None else owner), 0 if of is None else of.evaluate(values))
                value = self._counters.get(key, start % modulo)
                if each == "group" and values["index"]:
                    return (value - step) % modulo  # the first of the group has moved it on
                self._counters[key] = (value + step) % modulo
                return value

    def draw(self, number: Number, *, of: object) -> int:
        """A number that belongs to no packet, such as a rate or a lifetime; counters are those of `of`."""
        return self._number(number, {"index": 0}, 0, of)

    def datagram(self, look: Look, occasion: Occasion, direction: Direction, payload: bytes) -> list[Forged]:
        """`look.count` UDP datagrams with this payload that travel in `direction`; fields of TCP mean nothing."""
        src, sport, dst, dport = occasion.flow.ends(direction)
        head = _PORTS_LENGTH.pack(sport, dport, wire.UDP_HEADER_BYTES + len(payload))
        checksum = wire.transport_checksum(src, dst, wire.PROTOCOL_UDP, head + b"\0\0" + payload)
        return self._packets(
            look, occasion, direction, wire.PROTOCOL_UDP, head + checksum.to_bytes(2, "big") + payload
        )

    def icmp_error(
        self, look: Look, occasion: Occasion, direction: Direction, kind: int, code: int
    ) -> list[Forged]:
        """ICMP or ICMPv6 errors that quote the trigger (RFC 792, RFC 4443), from its receiver's address."""
        src, _, dst, _ = occasion.flow.ends(direction)
        v6 = len(src) == 16
        quoted = occasion.trigger.data[: ICMP6_QUOTE_BYTES if v6 else ICMP_QUOTE_BYTES]
        head = bytes((kind, code, 0, 0, 0, 0, 0, 0))
        if v6:
            checksum = wire.transport_checksum(src, dst, wire.PROTOCOL_ICMPV6, head + quoted)
        else:
            checksum = wire.ones_complement_sum(head + quoted) ^ 0xFFFF
        protocol = wire.PROTOCOL_ICMPV6 if v6 else wire.PROTOCOL_ICMP
        body = head[:2] + checksum.to_bytes(2, "big") + head[4:] + quoted
        return self._packets(look, occasion, direction, protocol, body)

    def _packets(
        self, look: Look, occasion: Occasion, direction: Direction, protocol: int, body: bytes
    ) -> list[Forged]:
        src, _, dst, _ = occasion.flow.ends(direction)
        send_at_ns = occasion.now_ns + self.delay_ns(look.delay, occasion.luck)
        group_draw = self._rng.randrange(1 << 16)
        forged = []
        for index in range(look.count):
            values = self._values(occasion, direction, index, group_draw)
            # It has neither, but an expression may name them, and a counter of windows is one to count by.
            values["window"] = self._number(look.window, values, occasion.trigger.window)
            values["seq"] = 0
            ttl = self._ttl(look, values, occasion.trigger)
            ip_id = self._number(look.ip_id, values, occasion.trigger.ip_id or 0) & 0xFFFF
            header = wire.ip_header(
                src,
                dst,
                protocol,
                len(body),
                ttl=ttl,
                ip_id=ip_id,
                dont_fragment=look.dont_fragment,
                tos=look.tos,
            )
            forged.append(Forged(header + body, send_at_ns + index * look.spacing_ns))
        return forged

    def delay_ns(self, delay: int | Quantiles, luck: list[float] | None = None) -> int:
        """luck: draw by this share; where there is none yet, it is drawn now and kept."""
        if isinstance(delay, int):
            return delay
        luck = [] if luck is None else luck
        if not luck:
            luck.append(self._rng.random())
        return quantile(delay, luck[0])


def quantile(distribution: Quantiles, share: float) -> int:
    """The delay below which `share` (0..1) of all lie, linear between the published points."""
    points = distribution.points
    above = min(bisect_right(points, share, key=lambda point: point[0]), len(points) - 1)
    (low_share, low_ns), (high_share, high_ns) = points[above - 1], points[above]
    return round(low_ns + (high_ns - low_ns) * (share - low_share) / (high_share - low_share))


def expected_numbers(occasion: Occasion, direction: Direction) -> tuple[int, int]:
    """(seq, ack) that the receiver of a segment in `direction` takes for the next one in order.

    Both ends are read where the box stands: what has passed it counts as received, since a forged packet travels
    behind it. Without any clue (a SYN was all there was) the sequence number is 0. Where the box has changed what
    passed, each end gets numbers of its own count.
    """
    trigger, translation = occasion.trigger, occasion.flow.translation
    sent = occasion.flow.halves[direction].next_seq
    acked = occasion.flow.halves[1 - direction].next_seq
    end = (trigger.seq + trigger.segment_len) & 0xFFFFFFFF
    acknowledged = trigger.ack if trigger.flags & wire.ACK else None
    if occasion.direction == direction:
        sent = _later(end, sent) if occasion.passes else trigger.seq
        if translation is not None and acknowledged is not None:
            acknowledged = translation.edits[1 - direction].backward(acknowledged)
        acked = _later(acknowledged, acked)
    else:
        acked = _later(end, acked)
    if translation is not None and sent is not None:
        sent = translation.edits[direction].forward(sent)
    if occasion.direction != direction:
        sent = _later(acknowledged, sent)
    return sent or 0, acked or 0


def _later(left: int | None, right: int | None) -> int | None:
    """The one further on; an unknown one counts for nothing."""
    if left is None or right is None:
        return right if left is None else left
    return right if distance(left, right) > 0 else left
