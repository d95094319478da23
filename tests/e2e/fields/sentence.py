"""What tests of boxes that punish by forging have in common: for how long they do, whatever the machine is busy with.

The box judges a packet between the capture in which it comes and the one in which it goes; a sentence begins between
the request that earned it and the first forged answer. So both bounds hold however long anything stands still there.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.e2e.fields.finished import Connection, Seen

CLOCK_S = 0.005
"""Captures and box read clocks of their own, which a machine that sets its time pulls apart by this much (chosen)."""


def said_alone(connection: Connection) -> list[Seen]:
    """The SYNs that a client sent after its request, as they came to the box."""
    request = connection.first_data()
    return [s for s in connection.seen_genuine("client") if s.flags == "S" and s.time_ns > request.time_ns]


def assert_lasts(connection: Connection, duration_s: float, tries: Sequence[tuple[Seen, bool]]) -> None:
    """What is answered came no later than so long after the request was; what is not left the box no earlier. Both were
    tried. tries: packets of the client's, each with a number of its own, and whether it was answered."""
    request = connection.first_data()
    sentenced_ns = connection.seen_forged("client")[0].time_ns
    gone = {s.packet.seq: s.time_ns for s in connection.outside if s.flags == "S" and not s.forged}
    assert len({seen.packet.seq for seen, _ in tries}) == len(tries)
    for seen, answered in tries:
        if answered:
            assert (seen.time_ns - sentenced_ns) / 1e9 < duration_s + CLOCK_S
        else:
            assert (gone[seen.packet.seq] - request.time_ns) / 1e9 > duration_s - CLOCK_S
    assert {answered for _, answered in tries} == {True, False}
