"""One packet, one journey: the same packet found again in every capture it passed, and what the events say of it.

    from inside:   host ── box-inside ── box-outside ── host        from outside: the other way round

A journey that begins on the far side of the box was forged there; one that ends on the near side was dropped there.
Everything here is seen in captures, independent of the events; `scenarios.explanation` puts the two together. Ladder,
packet comments and the ground-truth check are all made from these journeys.

Must never: look at an event to find a packet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from middlebox.community import community_id
from middlebox.packet import PROTOCOL_TCP, RST, Packet
from scenarios.captures import Captured, fingerprint, is_between_hosts
from scenarios.pairing import pair

BOX_INSIDE, BOX_OUTSIDE = "box-inside", "box-outside"
BOX_PLACES = (BOX_INSIDE, BOX_OUTSIDE)

Event = Mapping[str, Any]
"""One line of events.jsonl."""


@dataclass(slots=True, eq=False)
class Journey:
    """One packet on its way through the lab.

    places: where it could be seen, in travelling order; two hosts and both sides of the box
    seen: place -> what the capture there holds; only places where it was seen
    forged, dropped, rewritten, matched: what the events say of it, filled in by `scenarios.explanation`
    leaves_as: the packet that left the box in its place, where the box changed it; where a connection was led
        elsewhere, the packet on that host's side, and `packet` the one on the client's
    """

    packet: Packet
    places: tuple[str, ...]
    seen: dict[str, Captured] = field(default_factory=dict)
    forged: Event | None = None
    dropped: Event | None = None
    rewritten: Event | None = None
    leaves_as: Packet | None = None
    matched: list[Event] = field(default_factory=list)

    @property
    def redirected(self) -> bool:
        """Whether it left the box with other addresses."""
        before, after = self.packet, self.leaves_as
        return after is not None and (before.src, before.dst) != (after.src, after.dst)

    @property
    def made_reset(self) -> tuple[Packet, str] | None:
        """The RST that is the box's own, forged or made of another packet, as it left the box, and towards whom."""
        if self.forged is not None:
            return (self.packet, self.forged["towards"]) if _is_reset(self.packet) else None
        changed = self.leaves_as
        if self.rewritten is None or changed is None or not _is_reset(changed) or _is_reset(self.packet):
            return None
        return changed, "client" if self.rewritten["direction"] == "server-to-client" else "server"

    @property
    def moved_reset(self) -> Packet | None:
        """The RST of an end as it left the box, where the box moved its numbers: in that connection data has changed in
        length."""
        changed = self.leaves_as
        moved = self.rewritten is None and not self.redirected and _is_reset(self.packet)
        return changed if moved else None

    @property
    def start_ns(self) -> int:
        return min(captured.time_ns for captured in self.seen.values())

    @property
    def began_at(self) -> int:
        """Index into `places`: 0 sender, 1 into the box, 2 out of the box (so it was forged there), 3 receiver."""
        return next(n for n, place in enumerate(self.places) if place in self.seen)

    @property
    def ended_at(self) -> int:
        """Index into `places`: where it was seen last; 1 means that it never left the box."""
        return max(n for n, place in enumerate(self.places) if place in self.seen)

    def frame(self, index: int) -> str:
        """`box-inside frame 12`"""
        return f"{self.places[index]} frame {self.seen[self.places[index]].number}"

    @property
    def arrived(self) -> bool:
        return self.places[-1] in self.seen


@dataclass(frozen=True, slots=True)
class World:
    """Whose captures these are.

    hosts: address -> name of the host whose capture is at hand; inside: whether an address is a subscriber's
    box: addresses of the box itself, which may speak for itself (ICMP)
    may_get_lost: whether a packet that has left the box need not arrive: links lose packets, or its TTL is too low
    """

    hosts: Mapping[bytes, str]
    inside: Callable[[bytes], bool]
    box: frozenset[bytes] = frozenset()
    may_get_lost: Callable[[Journey], bool] = lambda journey: False

    def places(self, p: Packet) -> tuple[str, ...]:
        """Where a packet passes, in travelling order; a host without a capture is called ''."""
        box = BOX_PLACES if self.inside(p.src) else BOX_PLACES[::-1]
        return (self.hosts.get(p.src, ""), *box, self.hosts.get(p.dst, ""))


def collect(captures: Mapping[str, Sequence[Captured]], world: World) -> list[Journey]:
    """Every journey of a TCP, UDP or ICMP packet between inside and outside, by the time it began.

    captures: place (host name, BOX_INSIDE, BOX_OUTSIDE) -> its packets
    """
    sightings: dict[bytes, dict[str, list[Captured]]] = defaultdict(dict)
    for place, packets in captures.items():
        for captured in packets:
            p = captured.packet
            if is_between_hosts(p) and world.inside(p.src) != world.inside(p.dst):
                sightings[fingerprint(p)].setdefault(place, []).append(captured)
    journeys: list[Journey] = []
    for seen_at in sightings.values():
        journeys += _follow(seen_at, world)
    return sorted(journeys, key=lambda journey: journey.start_ns)


def _follow(seen_at: dict[str, list[Captured]], world: World) -> list[Journey]:
    """The journeys of packets that are all alike."""
    places = world.places(next(iter(seen_at.values()))[0].packet)
    travelling: list[Journey] = []  # those seen at the place before, in time order
    before = ""
    journeys: list[Journey] = []
    for place in filter(None, places):
        here = seen_at.get(place, [])
        came = pair([journey.seen[before].time_ns for journey in travelling], [c.time_ns for c in here])
        arrived: list[Journey] = []
        for index, captured in enumerate(here):
            if index in came:
                journey = travelling[came[index]]
            else:
                journey = Journey(captured.packet, places)
                journeys.append(journey)
            journey.seen[place] = captured
            arrived.append(journey)
        travelling, before = arrived, place
    return journeys


def _is_reset(p: Packet) -> bool:
    return p.protocol == PROTOCOL_TCP and bool(p.flags & RST)


def community_id_of(p: Packet) -> str:
    """The Community ID of the flow that a packet belongs to."""
    return community_id(p.src, p.sport, p.dst, p.dport, p.protocol)


def is_afterwards(journey: Journey, journeys: Iterable[Journey]) -> bool:
    """Whether a genuine RST only says that a connection is gone: a forged RST had reached its sender before.

    A kernel that has accepted a RST answers late packets of its peer with one of its own (RFC 9293 3.10.7.1).
    """
    p = journey.packet
    sender = journey.places[0]
    if not p.flags & RST or journey.forged is not None or sender not in journey.seen:
        return False
    sent_ns = journey.seen[sender].time_ns
    ends = (p.dst, p.dport, p.src, p.sport)
    return any(
        other.made_reset is not None
        and (other.packet.src, other.packet.sport, other.packet.dst, other.packet.dport) == ends
        and sender in other.seen
        and other.seen[sender].time_ns <= sent_ns
        for other in journeys
    )
