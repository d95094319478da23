"""The numbers of a connection in which a box has made data longer or shorter.

Each end goes on counting its own bytes; the box, in the middle, adds what it has added and takes away what it has
taken, in sequence numbers one way and in acknowledgments (and SACK blocks) the other way, to the end. The same that
Linux does for its NAT helpers (net/netfilter/nf_conntrack_seqadj.c). Sources: RFC 9293, RFC 2018.
"""

from __future__ import annotations

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
from middlebox.seqnum import distance

_KIND_SACK, _KIND_NOP = 5, 1
EDITS_REMEMBERED = 32
"""Per direction (chosen); the oldest are joined, which only old retransmissions could notice."""


class Edits:
    """What was changed in one direction: pairs of (sequence number behind the old bytes, bytes added)."""

    __slots__ = ("_edits",)

    def __init__(self) -> None:
        self._edits: list[tuple[int, int]] = []

    def __bool__(self) -> bool:
        return bool(self._edits)

    def note(self, end_seq: int, added: int) -> None:
        """The bytes that ended at `end_seq` became longer by `added`; the same again is a retransmission."""
        if added == 0 or any(position == end_seq for position, _ in self._edits):
            return
        self._edits.append((end_seq, added))
        if len(self._edits) > EDITS_REMEMBERED:
            (_, first), (position, second), *rest = self._edits
            self._edits = [(position, first + second), *rest]

    def forward(self, seq: int) -> int:
        """A sequence number of the sender, as its receiver has to see it."""
        shift = sum(added for position, added in self._edits if distance(position, seq) >= 0)
        return (seq + shift) & 0xFFFFFFFF

    def backward(self, ack: int) -> int:
        """An acknowledgment by the receiver, as the sender has to see it."""
        original = ack
        for position, added in self._edits:
            moved = (original - added) & 0xFFFFFFFF
            # Inside the changed bytes: the sender is told that they have arrived when all of them have.
            if distance(position, moved) >= 0:
                original = moved
            elif distance(position, original) > 0:
                original = position
                break
        return original


class Translation:
    """Both directions of one connection."""

    __slots__ = ("edits",)

    def __init__(self) -> None:
        self.edits = (Edits(), Edits())

    def apply(
        self, p: Packet, direction: Direction, *, payload: bytes | None = None, flags: int | None = None
    ) -> bytes | None:
        """The packet as it goes on, whole, with right checksums; None when nothing about it changes.

        payload, flags: what a rewrite has made of them.
        """
        if p.protocol != PROTOCOL_TCP:
            return None
        own, other = self.edits[direction], self.edits[1 - direction]
        seq = own.forward(p.seq)
        if payload is not None and not p.flags & SYN:
            own.note((p.seq + len(p.payload)) & 0xFFFFFFFF, len(payload) - len(p.payload))
        ack = other.backward(p.ack) if p.flags & ACK and other else p.ack
        options = _moved_sack(p.tcp_options, other) if other else p.tcp_options
        if (seq, ack, options) == (p.seq, p.ack, p.tcp_options) and payload is None and flags is None:
            return None
        return rebuilt(p, seq=seq, ack=ack, options=options, payload=payload, flags=flags)


def rebuilt(
    p: Packet, *, seq: int, ack: int, options: bytes, payload: bytes | None = None, flags: int | None = None
) -> bytes:
    """The same packet with other numbers, flags or payload; IPv4 options and IPv6 extension headers stay."""
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
    body = options + (p.payload if payload is None else payload)
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


def _moved_sack(options: bytes, edits: Edits) -> bytes:
    """The options with every edge of every SACK block told in the sender's own numbers."""
    at = 0
    moved = bytearray(options)
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
                told = edits.backward(int.from_bytes(options[edge : edge + 4], "big"))
                moved[edge : edge + 4] = told.to_bytes(4, "big")
        at += options[at + 1]
    return bytes(moved)
