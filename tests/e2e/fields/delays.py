"""What tests of injectors have in common that are late by dice: their delays against published quantiles.

A machine that is busy is late, and never early. So the wire alone can only say that nothing came sooner than published;
how late a packet was meant to be the box has written down, and of some the wire shows that it was not much later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

from tests.e2e.fields.finished import Connection, Run, Seen

WITHIN = 5
"""Standard deviations; chance goes further once in two million times."""
ON_TIME_MS, ON_TIME_SHARE = 10.0, 0.05
"""So many packets at least leave no later than this, on the busiest machine (chosen)."""


@dataclass(frozen=True)
class Delay:
    """Between a trigger and what it set off.

    seen_ms: by the capture of the side that both were on. judged_ms: the same from when the trigger left the box on the
    other side. meant_ms: what the box says.
    """

    seen_ms: float
    judged_ms: float
    meant_ms: float


def meant_delays_ms(run: Run) -> dict[bytes, float]:
    """By the bytes of a forged packet, with which it left the box."""
    return {bytes.fromhex(e["packet"]): e["delay_ns"] / 1e6 for e in run.events("packet_forged")}


def delay_of(connection: Connection, trigger: Seen, answer: Seen, meant_ms: float) -> Delay:
    """Of an answer to a client inside."""
    [left] = [
        s for s in connection.outside if not s.forged and s.packet.data[20:] == trigger.packet.data[20:]
    ]
    seen_ns, judged_ns = answer.time_ns - trigger.time_ns, answer.time_ns - left.time_ns
    return Delay(seen_ns / 1e6, judged_ns / 1e6, meant_ms)


def assert_published(delays: list[Delay], quantiles_ms: Mapping[float, float]) -> None:
    """The share of delays below each quantile is the published one, from share 0 (shortest) to 1 (longest)."""
    count = len(delays)
    least_ms, most_ms = quantiles_ms[0], quantiles_ms[1]
    assert all(least_ms <= d.meant_ms <= most_ms for d in delays)
    assert all(d.meant_ms <= d.seen_ms for d in delays)
    for share, quantile_ms in quantiles_ms.items():
        chance = WITHIN * sqrt(share * (1 - share) / count)
        assert abs(sum(d.meant_ms <= quantile_ms for d in delays) / count - share) <= chance
        assert sum(d.seen_ms < quantile_ms for d in delays) / count <= share + chance
    # Straight between the last two, half of these are above the middle.
    last, (share, above_ms) = list(pairwise(sorted(quantiles_ms.items())))[-1]
    assert share == 1
    assert max(d.meant_ms for d in delays) > (last[1] + above_ms) / 2
    on_time = [d for d in delays if d.judged_ms <= d.meant_ms + ON_TIME_MS]
    assert len(on_time) >= ON_TIME_SHARE * count
