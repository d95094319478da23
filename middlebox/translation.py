"""The numbers of a connection in which a box has changed data.

Each end goes on counting its own bytes; the box, in the middle, adds what it has added and takes away what it has
taken, in sequence numbers one way and in acknowledgments (and SACK blocks) the other way, to the end. The same that
Linux does for its NAT helpers (net/netfilter/nf_conntrack_seqadj.c). What was changed once is changed again, the same
way, whenever it is sent again, however it is cut then: a receiver never sees both versions.

It relies on changes being made in the order of the stream, so a box that may still change a direction must not let
segments overtake one another (`reading.overtakes`). Sources: RFC 9293, RFC 2018.
"""

from __future__ import annotations

from typing import NamedTuple

from middlebox.flow import Direction
from middlebox.packet import (
    ACK,
    IPV6_HEADER_BYTES,
    PROTOCOL_TCP,
    SYN,
    TCP_HEADER_BYTES,
    Packet,
    ones_complement_sum,
    transport_checksum,
)
from middlebox.profile import Rule
from middlebox.seqnum import distance

_KIND_SACK, _KIND_NOP = 5, 1
_MAX_IP_BYTES = 0xFFFF
EDITS_REMEMBERED = 32
"""Per direction (chosen); older ones are joined, which only very late retransmissions could notice."""
SETTLED_BYTES = 1 << 30
"""An edit so far back is no longer looked at, long before sequence numbers come round to it again (chosen)."""


class Edit(NamedTuple):
    """`length` bytes from `start` on, in the sender's count, became `replacement`. `length` is never 0."""

    start: int
    length: int
    replacement: bytes
    rule: Rule

    @property
    def added(self) -> int:
        return len(self.replacement) - self.length


class Carried(NamedTuple):
    """A packet as it goes on, whole; `rules`: who changed its payload, empty when only numbers differ."""

    data: bytes
    rules: tuple[Rule, ...]


class Edits:
    """What was changed in one direction, in the order of the stream."""

    __slots__ = ("_edits", "_settled")

    def __init__(self) -> None:
        self._edits: list[Edit] = []
        self._settled = 0  # bytes added by edits that are no longer remembered one by one

    def note(self, start: int, old: bytes, new: bytes, rule: Rule) -> None:
        """`old`, not empty, which starts at `start` and has not passed yet, is to become `new`, which differs."""
        head = _common(old, new, len(old) - 1)
        tail = _common(old[:head:-1], new[head:][::-1], len(old))
        replacement = new[head : len(new) - tail]
        self._edits.append(Edit((start + head) & 0xFFFFFFFF, len(old) - head - tail, replacement, rule))
        if len(self._edits) > EDITS_REMEMBERED:
            self._settle()

    def _settle(self) -> None:
        self._settled += self._edits.pop(0).added

    def carry(self, seq: int, payload: bytes) -> tuple[int, bytes, tuple[Rule, ...]]:
        """(sequence number, payload, rules) of a segment as its receiver has to see it.

        Where a segment has a part of something that was changed, all that stands for it goes on.
        """
        if self._edits and distance(self._edits[0].start, seq) > SETTLED_BYTES:
            self._settle()
        moved, at = seq + self._settled, 0
        parts: list[bytes] = []
        rules: list[Rule] = []
        for edit in self._edits:
            first = distance(seq, edit.start)
            if first + edit.length <= 0:
                moved += edit.added
            elif first >= len(payload):
                break
            elif not payload:
                moved += first  # in the middle of it, and nothing to say
                break
            else:
                moved += min(first, 0)
                parts += payload[at : max(first, 0)], edit.replacement
                rules.append(edit.rule)
                at = first + edit.length
        if not parts:
            return moved & 0xFFFFFFFF, payload, ()
        return moved & 0xFFFFFFFF, b"".join(parts) + payload[at:], tuple(rules)

    def backward(self, ack: int, *, left_edge: bool = False) -> int:
        """An acknowledgment by the receiver, as the sender has to see it.

        Within what was changed the sender is told that none of it has arrived; `left_edge`: that all of it belongs to
        what came before, as the left edge of a SACK block has to be read.
        """
        shift = self._settled
        for edit in self._edits:
            first = (edit.start + shift) & 0xFFFFFFFF
            into = distance(first, ack)
            if into >= len(edit.replacement):
                shift += edit.added
            elif into > 0:
                return (edit.start + (edit.length if left_edge else 0)) & 0xFFFFFFFF
            else:
                break
        return (ack - shift) & 0xFFFFFFFF

    def forward(self, seq: int) -> int:
        """A sequence number of the sender, as its receiver has to see it."""
        return self.carry(seq, b"")[0]


class Translation:
    """Both directions of one connection."""

    __slots__ = ("edits",)

    def __init__(self) -> None:
        self.edits = (Edits(), Edits())

    def apply(self, p: Packet, direction: Direction, *, flags: int | None = None) -> Carried | None:
        """The packet as it goes on, with right checksums; None when nothing about it changes.

        flags: what a rewrite has made of them.
        """
        if p.protocol != PROTOCOL_TCP or not p.has_transport_header:
            return None
        own, other = self.edits[direction], self.edits[1 - direction]
        syn = 1 if p.flags & SYN else 0
        seq, payload, rules = own.carry((p.seq + syn) & 0xFFFFFFFF, p.payload)
        seq = (seq - syn) & 0xFFFFFFFF
        ack = other.backward(p.ack) if p.flags & ACK else p.ack
        options = _moved_sack(p.tcp_options, other)
        if not rules and flags is None and (seq, ack, options) == (p.seq, p.ack, p.tcp_options):
            return None
        return Carried(rebuilt(p, seq=seq, ack=ack, options=options, payload=payload, flags=flags), rules)


def rebuilt(p: Packet, *, seq: int, ack: int, options: bytes, payload: bytes, flags: int | None) -> bytes:
    """The same packet with other numbers, flags or payload; IPv4 options and IPv6 extension headers stay.

    What does not fit an IP packet is left out, and sent again by its sender, who learns that it did not arrive.
    """
    data = p.data
    old = data[p.l4 : p.l4 + TCP_HEADER_BYTES]
    offset_flags = int.from_bytes(old[12:14], "big")
    if flags is not None:
        offset_flags = offset_flags & ~0x1FF | flags
    head = (
        old[:4]
        + seq.to_bytes(4, "big")
        + ack.to_bytes(4, "big")
        + offset_flags.to_bytes(2, "big")
        + old[14:16]
    )
    body = (options + payload)[: _MAX_IP_BYTES - p.l4 - TCP_HEADER_BYTES]
    checksum = transport_checksum(p.src, p.dst, PROTOCOL_TCP, head + b"\0\0" + old[18:20] + body)
    segment = head + checksum.to_bytes(2, "big") + old[18:20] + body
    return _ip_part(p, len(segment)) + segment


def _ip_part(p: Packet, segment_bytes: int) -> bytes:
    data = p.data
    if p.version == 6:
        length = p.l4 - IPV6_HEADER_BYTES + segment_bytes
        return data[:4] + length.to_bytes(2, "big") + data[6 : p.l4]
    head = data[:2] + (p.l4 + segment_bytes).to_bytes(2, "big") + data[4:10] + b"\0\0" + data[12 : p.l4]
    checksum = ones_complement_sum(head) ^ 0xFFFF
    return head[:10] + checksum.to_bytes(2, "big") + head[12:]


def _common(left: bytes, right: bytes, limit: int) -> int:
    """How many bytes both begin with, at most `limit`."""
    limit = min(limit, len(left), len(right))
    return next((at for at in range(limit) if left[at] != right[at]), limit)


def _moved_sack(options: bytes, edits: Edits) -> bytes:
    """TCP options with the edges of SACK blocks as the sender of that data has to see them."""
    moved = bytearray(options)
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            break
        if kind == _KIND_NOP:
            at += 1
            continue
        if at + 1 >= len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            break
        if kind == _KIND_SACK:
            for edge in range(at + 2, at + options[at + 1] - 3, 4):
                left_edge = (edge - at) % 8 == 2
                told = edits.backward(int.from_bytes(options[edge : edge + 4], "big"), left_edge=left_edge)
                moved[edge : edge + 4] = told.to_bytes(4, "big")
        at += options[at + 1]
    return bytes(moved)
