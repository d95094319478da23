"""One direction of a connection as a byte stream: reassembly and overlap policy.

`Stream.accept` takes one segment and hands back the pieces that can now be read, in order. It never raises and keeps
at most `buffer_bytes` of early data; when a hole does not fill in time the reader is told that bytes are missing.

How a box does this decides which evasions work: see `profile.TcpReading`. Sources: RFC 9293 3.10.7.4; Ptacek and
Newsham, "Insertion, Evasion, and Denial of Service", 1998; Wang17 and Khattak13 for what the Great Firewall does.
"""

from __future__ import annotations

from typing import NamedTuple

from middlebox.profile import Overlap, Reassembly, TcpReading
from middlebox.seqnum import distance

REUSE_DISTANCE = 16 << 20
"""A sequence number further away than this belongs to another connection on the same ports (chosen: far more than
the receive buffers of the lab, far less than the distance of two random initial sequence numbers)."""


class Piece(NamedTuple):
    """Bytes that can be read now. `joined`: they go on where the last piece ended; False after missing bytes."""

    data: bytes
    joined: bool


class Stream:
    """What one end has sent. `next_seq` is None until its first sequence number is known."""

    __slots__ = ("next_seq", "tail", "_early", "_early_bytes")

    def __init__(self) -> None:
        self.next_seq: int | None = None
        self.tail = b""  # the last bytes read, kept for rules that look across segment borders
        self._early: list[tuple[int, bytes]] | None = None  # beyond a hole, sorted, not overlapping
        self._early_bytes = 0

    def start(self, seq: int) -> None:
        """The next byte has this sequence number; whatever was kept belongs to another connection."""
        self.next_seq = seq
        self.tail = b""
        self._early = None
        self._early_bytes = 0

    def lose_track(self) -> None:
        """What comes next is not known: bytes have passed that nobody has read."""
        self.next_seq = None
        self.tail = b""
        self._early = None
        self._early_bytes = 0

    def is_elsewhere(self, seq: int) -> bool:
        """Whether `seq` cannot belong to this stream."""
        return self.next_seq is not None and abs(distance(self.next_seq, seq)) > REUSE_DISTANCE

    def goes_on_at(self, seq: int, reading: TcpReading) -> bool:
        """Whether a segment at `seq` can be read as it is: in order, and nothing waits behind it."""
        return (
            (seq == self.next_seq or self.next_seq is None)
            and self._early is None
            and reading.reassembly is not Reassembly.NONE
        )

    def accept(self, seq: int, payload: bytes, reading: TcpReading) -> tuple[Piece, ...]:
        """Take one segment; return what can be read now, in stream order. `payload` is not empty."""
        if self.goes_on_at(seq, reading):
            self.next_seq = (seq + len(payload)) & 0xFFFFFFFF
            return (Piece(payload, True),)
        expected = seq if self.next_seq is None else self.next_seq
        if reading.reassembly is Reassembly.NONE:
            self._advance((seq + len(payload)) & 0xFFFFFFFF)
            return (Piece(payload, False),)
        ahead = distance(expected, seq)
        if ahead > 0:
            if reading.reassembly is Reassembly.IN_ORDER:
                self.next_seq = (seq + len(payload)) & 0xFFFFFFFF
                return (Piece(payload, False),)
            return self._keep_early(seq, payload, reading)
        fresh = payload[-ahead:]
        if not fresh:
            return ()  # all of it was read before
        return self._read_on(expected, fresh, reading.overlap)

    def _advance(self, seq: int) -> None:
        if self.next_seq is None or distance(self.next_seq, seq) > 0:
            self.next_seq = seq

    def _read_on(self, seq: int, fresh: bytes, overlap: Overlap) -> tuple[Piece, ...]:
        """`fresh` starts at `next_seq`: read it and every early segment that it reaches."""
        if self._early is not None:
            self._insert(seq, fresh, overlap)
            data = self._take_contiguous(seq)
        else:
            data = fresh
        self.next_seq = (seq + len(data)) & 0xFFFFFFFF
        return (Piece(data, True),)

    def _keep_early(self, seq: int, payload: bytes, reading: TcpReading) -> tuple[Piece, ...]:
        if self._early is None:
            self._early = []
        self._insert(seq, payload, reading.overlap)
        if self._early_bytes <= reading.buffer_bytes:
            return ()
        # The hole did not fill while `buffer_bytes` arrived: go on behind it.
        start = self._early[0][0]
        data = self._take_contiguous(start)
        self.next_seq = (start + len(data)) & 0xFFFFFFFF
        return (Piece(data, False),)

    def _take_contiguous(self, seq: int) -> bytes:
        early = self._early or []
        parts = []
        while early and early[0][0] == seq:
            _, part = early.pop(0)
            parts.append(part)
            seq = (seq + len(part)) & 0xFFFFFFFF
            self._early_bytes -= len(part)
        if not early:
            self._early = None
            self._early_bytes = 0
        return b"".join(parts)

    def _insert(self, seq: int, payload: bytes, overlap: Overlap) -> None:
        """Put a segment among the early ones; where two cover the same bytes the policy decides which are kept."""
        assert self._early is not None and self.next_seq is not None
        base = self.next_seq
        start, end = distance(base, seq), distance(base, seq) + len(payload)
        kept: list[tuple[int, bytes]] = []
        fresh = [(start, payload)]
        for old_seq, old in self._early:
            old_start = distance(base, old_seq)
            old_end = old_start + len(old)
            if old_end <= start or old_start >= end:
                kept.append((old_start, old))
            elif overlap is Overlap.FIRST:
                kept.append((old_start, old))
                fresh = [part for piece in fresh for part in _cut_out(piece, old_start, old_end)]
            else:
                kept.extend(_cut_out((old_start, old), start, end))
        merged = sorted(kept + fresh)
        self._early = [((base + at) & 0xFFFFFFFF, data) for at, data in merged]
        self._early_bytes = sum(len(data) for _, data in merged)


def _cut_out(piece: tuple[int, bytes], start: int, end: int) -> list[tuple[int, bytes]]:
    """What is left of `piece` outside start..end: nothing, one part or two."""
    at, data = piece
    parts = []
    if at < start:
        parts.append((at, data[: start - at]))
    if at + len(data) > end:
        parts.append((max(at, end), data[max(0, end - at) :]))
    return [part for part in parts if part[1]]
