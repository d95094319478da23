"""Which arrival was which sending? Pairs equal packets that were seen at two places.

Shared by the journeys (ground truth, ladder) and by the two-ended detector. Knows times only, no packets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MAX_CELLS = 4_000_000
"""Above this many (arrivals x sendings) they are paired first to first (chosen; bounds time and memory)."""


def pair(
    sent_ns: Sequence[int], arrived_ns: Sequence[int], *, least_ns: int = 0, usual_ns: int | None = None
) -> Mapping[int, int]:
    """Index of an arrival -> index of the sending that explains it; both sequences ascending.

    A sending explains one arrival, at least `least_ns` later. As many arrivals as possible are explained: nothing is
    called forged while an innocent explanation is left. Among the ways to do so the one is taken whose transit times
    are nearest to `usual_ns` (None: to `least_ns`). Order is kept: equal packets have no names.
    """
    if len(sent_ns) >= len(arrived_ns) == 0:
        return {}
    if len(sent_ns) == len(arrived_ns) and all(
        a - s >= least_ns for s, a in zip(sent_ns, arrived_ns, strict=True)
    ):
        return {n: n for n in range(len(sent_ns))}
    if len(sent_ns) * len(arrived_ns) > MAX_CELLS:
        return _first_to_first(sent_ns, arrived_ns, least_ns)
    return _align(sent_ns, arrived_ns, least_ns, least_ns if usual_ns is None else usual_ns)


_Chain = tuple[int, int, "_Chain"] | None
"""Pairs found so far, last one first: (arrival, sending, those before)."""
_Cell = tuple[int, int, _Chain]
"""(number explained, minus the sum of deviations from the usual transit, the pairs)"""


def _align(
    sent_ns: Sequence[int], arrived_ns: Sequence[int], least_ns: int, usual_ns: int
) -> Mapping[int, int]:
    """The best alignment in time order, by dynamic programming over (arrivals so far, sendings so far)."""
    none: _Cell = (0, 0, None)
    best = [none] * (len(sent_ns) + 1)
    for a, arrival in enumerate(arrived_ns):
        row = [none]
        for s, sending in enumerate(sent_ns):
            cell = max(best[s + 1], row[s], key=_value)
            transit = arrival - sending
            if transit >= least_ns:
                count, deviation, chain = best[s]
                cell = max(cell, (count + 1, deviation - abs(transit - usual_ns), (a, s, chain)), key=_value)
            row.append(cell)
        best = row
    pairs: dict[int, int] = {}
    link = best[-1][2]
    while link is not None:
        arrival_index, sending_index, link = link
        pairs[arrival_index] = sending_index
    return pairs


def _value(cell: _Cell) -> tuple[int, int]:
    return cell[:2]


def _first_to_first(sent_ns: Sequence[int], arrived_ns: Sequence[int], least_ns: int) -> Mapping[int, int]:
    pairs: dict[int, int] = {}
    free = 0
    for index, arrival in enumerate(arrived_ns):
        if free < len(sent_ns) and arrival - sent_ns[free] >= least_ns:
            pairs[index] = free
            free += 1
    return pairs
