"""The packet ladder as data: one row per packet of a flow, long dull stretches folded. `draw` puts it on the screen.

A row says where the packet set out and how far it came: client, box or server. Times are milliseconds since the flow's
first packet, sequence numbers relative to each side's first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby
from typing import Any

from middlebox.flow import Direction
from middlebox.packet import ACK, PROTOCOL_TCP, Packet
from scenarios.journeys import Event, Journey, is_afterwards
from scenarios.record import FlowEnds
from scenarios.report.words import TLS_CONTINUED, TLS_DATA, Reader, flag_words, size_words

FOLD_FROM = 5
"""A stretch of so many packets that say nothing new is shown as one row (chosen)."""

BULK_BYTES = 1000
"""Behind a segment as large as this, what the same end goes on to say is the rest of the same (chosen)."""

MAX_ROWS = 40
"""Of one flow, unless all are asked for: two screenfuls of a small terminal (chosen)."""

AFTERWARDS = "RST: no such connection"
"""Said of a genuine RST that answers a packet for a connection which a forged RST has ended."""


class Column(IntEnum):
    CLIENT = 0
    BOX = 1
    SERVER = 2


@dataclass(slots=True)
class Row:
    """One packet, or a folded stretch of them.

    start, end: columns it was seen to come from and to get to; complete: it got to its receiver (end) or, for a packet
    that was forged towards it, to that end
    words: TCP flags and length; numbers: relative seq and ack; text: what the payload says
    forged, dropped, rewritten: name of the rule; triggered: names of the rules it set off
    seen: place -> [frame number, ms]; packets, n_bytes: more than one packet only in a folded row
    """

    time_ms: float
    direction: Direction
    start: Column
    end: Column
    complete: bool
    words: str
    numbers: str = ""
    text: str = ""
    forged: str = ""
    dropped: str = ""
    rewritten: str = ""
    triggered: tuple[str, ...] = ()
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)
    packets: int = 1
    n_bytes: int = 0

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Row:
        """What `as_json` made."""
        rightward = data["direction"] == Direction.CLIENT_TO_SERVER.word
        return cls(
            time_ms=data["time_ms"], direction=Direction.CLIENT_TO_SERVER if rightward else Direction.SERVER_TO_CLIENT,
            start=Column[data["from"].upper()], end=Column[data["to"].upper()], complete=data["arrived"],
            words=data["words"], numbers=data["numbers"], text=data["text"], forged=data["forged_by"] or "",
            dropped=data["dropped_by"] or "", triggered=tuple(data["triggered"]), packets=data["packets"],
            n_bytes=data["bytes"], rewritten=data["rewritten_by"] or "",
            seen={place: (at["frame"], at["time_ms"]) for place, at in data["seen"].items()},
        )  # fmt: skip

    @property
    def rightward(self) -> bool:
        return self.direction is Direction.CLIENT_TO_SERVER

    @property
    def touched(self) -> bool:
        """Whether the box made it, stopped it, changed it, or took it for a trigger."""
        return bool(self.forged or self.dropped or self.rewritten or self.triggered)

    @property
    def folded(self) -> bool:
        return self.packets > 1

    def as_json(self) -> dict[str, Any]:
        return {
            "time_ms": self.time_ms, "direction": self.direction.word, "from": self.start.name.lower(),
            "to": self.end.name.lower(), "arrived": self.complete, "words": self.words, "numbers": self.numbers,
            "text": self.text, "forged_by": self.forged or None, "dropped_by": self.dropped or None,
            "rewritten_by": self.rewritten or None,
            "triggered": list(self.triggered), "packets": self.packets, "bytes": self.n_bytes,
            "seen": {place: {"frame": frame, "time_ms": ms} for place, (frame, ms) in self.seen.items()},
        }  # fmt: skip


def ladder(
    journeys: Sequence[Journey], flow: FlowEnds, *, fold: bool = True, only: Collection[int] | None = None
) -> list[Row]:
    """The rows of one flow.

    journeys: any, by the time they began; those of other flows are left out. only: ids of the journeys to show, with
    times and sequence numbers as in the whole flow.
    """
    own = [journey for journey in journeys if flow.holds(journey.packet)]
    if not own:
        return []
    numbers = _RelativeNumbers(own, flow)
    reader = Reader()
    rows = [_row(journey, flow, own[0].start_ns, numbers, reader) for journey in own]
    for row, journey in zip(rows, own, strict=True):
        if is_afterwards(journey, own):
            row.text = AFTERWARDS
    if only is not None:
        return [row for row, journey in zip(rows, own, strict=True) if id(journey) in only]
    return _fold(rows) if fold else rows


class _RelativeNumbers:
    """Each side's first sequence number, and packets' numbers seen from there."""

    def __init__(self, own: Sequence[Journey], flow: FlowEnds) -> None:
        self._flow = flow
        self._first: dict[Direction, int] = {}
        for journey in own:
            p = journey.packet
            if p.protocol == PROTOCOL_TCP and journey.began_at < 2:
                self._first.setdefault(_direction(p, flow), p.seq)
        for (
            journey
        ) in own:  # a connection joined in the middle: the other side's acknowledgment is all there is
            p = journey.packet
            if p.protocol == PROTOCOL_TCP and p.flags & ACK:
                self._first.setdefault(_direction(p, flow).opposite, p.ack)

    def words(self, p: Packet) -> str:
        if p.protocol != PROTOCOL_TCP:
            return ""
        direction = _direction(p, self._flow)
        words = f"seq {self._relative(p.seq, direction)}"
        return words + (f" ack {self._relative(p.ack, direction.opposite)}" if p.flags & ACK else "")

    def _relative(self, number: int, direction: Direction) -> int:
        distance = (number - self._first.get(direction, 0)) & 0xFFFFFFFF
        return distance - (1 << 32) if distance >= 1 << 31 else distance


def _direction(p: Packet, flow: FlowEnds) -> Direction:
    from_client = (p.src, p.sport) == (flow.client, flow.client_port)
    return Direction.CLIENT_TO_SERVER if from_client else Direction.SERVER_TO_CLIENT


def _row(journey: Journey, flow: FlowEnds, zero_ns: int, numbers: _RelativeNumbers, reader: Reader) -> Row:
    p = journey.packet
    direction = _direction(p, flow)
    columns = (Column.CLIENT, Column.BOX, Column.BOX, Column.SERVER)
    if direction is Direction.SERVER_TO_CLIENT:
        columns = columns[::-1]
    words = flag_words(p) + (f" {size_words(p.payload_len)}" if p.payload_len else "")
    seen = {
        place: (captured.number, round((captured.time_ns - zero_ns) / 1e6, 3))
        for place, captured in journey.seen.items()
    }
    return Row(
        time_ms=round((journey.start_ns - zero_ns) / 1e6, 3),
        direction=direction,
        start=columns[journey.began_at],
        end=columns[journey.ended_at],
        complete=journey.arrived or not journey.places[-1],
        words=words,
        numbers=numbers.words(p) if journey.rewritten is None else _text_of(direction, journey.leaves_as),
        # a forged packet is not part of the stream that the reader follows
        text=reader.text(direction, p) if journey.began_at < 2 else Reader().text(direction, p),
        forged=_rule(journey.forged) or ("?" if journey.began_at == 2 else ""),
        dropped=_rule(journey.dropped),
        rewritten=_rule(journey.rewritten),
        triggered=tuple(dict.fromkeys(_rule(event) for event in journey.matched)),
        seen=seen,
        n_bytes=p.payload_len,
    )


def _text_of(direction: Direction, p: Packet | None) -> str:
    """What a packet says by itself: one that is not part of the stream that the ladder's reader follows."""
    if p is None:
        return ""
    return Reader().text(direction, p) or f"{flag_words(p)} {size_words(p.payload_len)}"


def _rule(event: Event | None) -> str:
    return str(event["rule"]) if event is not None else ""


def _is_dull(row: Row, before: Row | None) -> bool:
    """Nothing to see: a bare ACK, or data that goes on as before. before: the last row with data."""
    special = row.touched or not row.complete
    opens_or_ends = any(word in row.words for word in ("SYN", "FIN", "RST"))
    more = (
        row.n_bytes > 0
        and before is not None
        and before.direction is row.direction
        and before.n_bytes >= BULK_BYTES
    )
    return not special and not opens_or_ends and (more or row.text in ("", TLS_DATA, TLS_CONTINUED))


def _fold(rows: list[Row]) -> list[Row]:
    folded: list[Row] = []
    stretch: list[Row] = []
    data: Row | None = None
    for row in [*rows, None]:
        dull = row is not None and _is_dull(row, data)
        data = row if row is not None and row.n_bytes else data
        if row is not None and dull:
            stretch.append(row)
            continue
        folded += stretch if len(stretch) < FOLD_FROM else [_folded_row(stretch)]
        stretch = []
        if row is not None:
            folded.append(row)
    return folded


def shortened(rows: Sequence[Row], limit: int = MAX_ROWS) -> list[Row]:
    """At most `limit` rows. Of a longer ladder the middle is folded: all but what the box has to do with, and that too
    where it is too much."""
    if len(rows) <= limit:
        return [*rows]
    first, last = limit * 2 // 3, limit // 6
    middle = rows[first:-last]
    kept: list[Row] = []
    for is_quiet, group in groupby(middle, lambda row: not row.touched):
        stretch = [*group]
        kept += [_folded_row(stretch)] if is_quiet and len(stretch) > 1 else stretch
    if first + len(kept) + last > limit:
        kept = [_folded_row(middle)]
    return [*rows[:first], *kept, *rows[-last:]]


def _folded_row(stretch: Sequence[Row]) -> Row:
    packets = sum(row.packets for row in stretch)
    n_bytes = sum(row.n_bytes for row in stretch)
    took_ms = stretch[-1].time_ms - stretch[0].time_ms
    return Row(
        time_ms=stretch[0].time_ms, direction=stretch[0].direction, start=Column.CLIENT, end=Column.SERVER,
        complete=True, words=f"{packets} packets, {size_words(n_bytes)}, {took_ms:.0f} ms",
        packets=packets, n_bytes=n_bytes,
    )  # fmt: skip
