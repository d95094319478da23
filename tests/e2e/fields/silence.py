"""What tests of boxes that drop have in common: which packets of one end got through the box, and when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from scenarios.captures import fingerprint
from scenarios.pairing import pair
from tests.e2e.fields.finished import Connection, Seen

SLACK_S = 0.15
"""For a busy machine: a packet is captured so long before or after it was judged, at most (chosen)."""

Passages = list[tuple[Seen, bool]]
"""Each packet as it came to the box, and whether it left it on the other side."""


def passages(connection: Connection, sender: str = "client") -> Passages:
    """What one end sent, by the captures on both sides of the box alone."""
    came: dict[bytes, list[Seen]] = defaultdict(list)
    went: dict[bytes, list[Seen]] = defaultdict(list)
    source = connection.ends.client if sender == "client" else connection.ends.server
    from_inside = (sender == "client") == connection.client_is_inside
    near, far = (connection.inside, connection.outside)[:: 1 if from_inside else -1]
    for side, sorted_in in ((near, came), (far, went)):
        for seen in side:
            if seen.packet.src == source and not seen.forged:
                sorted_in[fingerprint(seen.packet)].append(seen)
    found: Passages = []
    for mark, alike in came.items():
        passed = pair([s.time_ns for s in alike], [s.time_ns for s in went[mark]]).values()
        found += [(seen, index in set(passed)) for index, seen in enumerate(alike)]
    return sorted(found, key=lambda passage: passage[0].time_ns)


def since(start: Seen, found: Iterable[tuple[Seen, bool]]) -> list[tuple[float, bool]]:
    """(seconds since `start` came to the box, whether it passed)."""
    return [((seen.time_ns - start.time_ns) / 1e9, passed) for seen, passed in found]


def assert_silent_between(
    begin_s: float, end_s: float, found: Iterable[tuple[float, bool]], *, slack_s: float = SLACK_S
) -> None:
    """Before and after everything passes, in between nothing; and all three were tried."""
    tried: dict[str, set[bool]] = {"before": set(), "during": set(), "after": set()}
    for at_s, passed in found:
        if at_s < begin_s - slack_s:
            tried["before"].add(passed)
        elif begin_s + slack_s < at_s < end_s - slack_s:
            tried["during"].add(passed)
        elif at_s > end_s + slack_s:
            tried["after"].add(passed)
    assert tried == {"before": {True}, "during": {False}, "after": {True}}


def assert_all_pass(*found: Passages) -> None:
    """Nothing was dropped, and there was something."""
    assert {passed for each in found for _, passed in each} == {True}
