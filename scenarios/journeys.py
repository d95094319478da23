"""One packet, one journey: the same packet found again in every capture it passed, and what the events say of it.

    from inside:   host ── box-inside ── box-outside ── host        from outside: the other way round

A journey that begins on the far side of the box was forged there; one that ends on the near side was dropped there.
`collect` sees only captures, so what it finds is independent of the events; `explain` puts the two together and keeps
what does not fit. Ladder, packet comments and the ground-truth check are all made from these journeys.

Must never: trust the events to find a packet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from middlebox.community import community_id
from middlebox.packet import RST, Packet, decode, flag_letters
from scenarios.captures import Captured, fingerprint, is_flow_packet
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
    """

    packet: Packet
    places: tuple[str, ...]
    seen: dict[str, Captured] = field(default_factory=dict)
    forged: Event | None = None
    dropped: Event | None = None
    matched: list[Event] = field(default_factory=list)

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
    """

    hosts: Mapping[bytes, str]
    inside: Callable[[bytes], bool]

    def places(self, p: Packet) -> tuple[str, ...]:
        """Where a packet passes, in travelling order; a host without a capture is called ''."""
        box = BOX_PLACES if self.inside(p.src) else BOX_PLACES[::-1]
        return (self.hosts.get(p.src, ""), *box, self.hosts.get(p.dst, ""))


def collect(captures: Mapping[str, Sequence[Captured]], world: World) -> list[Journey]:
    """Every journey of a TCP or UDP packet between inside and outside, by the time it began.

    captures: place (host name, BOX_INSIDE, BOX_OUTSIDE) -> its packets
    """
    sightings: dict[bytes, dict[str, list[Captured]]] = defaultdict(dict)
    for place, packets in captures.items():
        for captured in packets:
            p = captured.packet
            if is_flow_packet(p) and world.inside(p.src) != world.inside(p.dst):
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


# --- what the events say -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Something that events and captures do not agree about.

    what: one line; journey: the packet on the wire, if there is one; event: what was written, if anything
    """

    what: str
    journey: Journey | None = None
    event: Event | None = None


def explain(journeys: Sequence[Journey], events: Iterable[Event]) -> list[Disagreement]:
    """Write into the journeys what the events say of them; return what does not fit, empty for an honest box."""
    by_kind: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_kind[event["event"]].append(event)
    disagreements = [
        Disagreement(f"first seen at {j.frame(j.began_at)}, sent by nobody", j)
        for j in journeys
        if (j.began_at == 1 and j.places[0]) or j.began_at == 3
    ]
    disagreements += _explain_forged(by_kind["packet_forged"], [j for j in journeys if j.began_at == 2])
    by_identity: dict[tuple[object, ...], list[Journey]] = defaultdict(list)
    for journey in journeys:
        by_identity[_identity(journey.packet)].append(journey)
    vanished = [j for j in journeys if j.ended_at == 1]
    disagreements += _explain_dropped(by_kind["packet_dropped"], by_identity, vanished)
    for event in by_kind["rule_matched"]:
        trigger = _last_before(
            by_identity.get(_event_identity(event, event["trigger"]), ()), event["time_ns"]
        )
        if trigger is not None:
            trigger.matched.append(event)
    return disagreements


def _explain_forged(events: list[Event], unsent: list[Journey]) -> list[Disagreement]:
    waiting: dict[bytes, list[Event]] = defaultdict(list)
    disagreements = []
    for event in events:
        packet = decode(bytes.fromhex(event["packet"]))
        assert packet is not None, "the box wrote down a packet that is none"
        waiting[fingerprint(packet)].append(event)
    for journey in unsent:
        candidates = waiting.get(fingerprint(journey.packet))
        if not candidates:
            what = f"left the box at {journey.frame(2)}, came from nowhere, and is in no event"
            disagreements.append(Disagreement(what, journey))
            continue
        journey.forged = candidates.pop(0)
        if not journey.arrived and journey.places[-1]:
            what = f"forged, left the box at {journey.frame(2)}, never arrived"
            disagreements.append(Disagreement(what, journey, journey.forged))
    for left in waiting.values():
        for event in left:
            what = f"forged towards {event['towards']} by the events, on no wire"
            disagreements.append(Disagreement(what, None, event))
    return disagreements


def _explain_dropped(
    events: list[Event], by_identity: Mapping[tuple[object, ...], list[Journey]], vanished: list[Journey]
) -> list[Disagreement]:
    dropped_flows: dict[str, Event] = {}
    disagreements = []
    for event in events:
        dropped_flows.setdefault(event["flow"]["community_id"], event)
        candidates = by_identity.get(_event_identity(event, event["packet"]), [])
        found = next((j for j in candidates if j.ended_at == 1 and j.dropped is None), None)
        if found is None:
            disagreements.append(
                Disagreement("dropped by the events, but it passed or was never there", None, event)
            )
        else:
            found.dropped = event
    for journey in vanished:
        if journey.dropped is None:
            # A flow that is to be dropped as a whole is dropped by the kernel after the first packet, without an event.
            journey.dropped = dropped_flows.get(community_id_of(journey.packet))
        if journey.dropped is None:
            what = f"went into the box at {journey.frame(1)}, never came out, and is in no event"
            disagreements.append(Disagreement(what, journey))
    return disagreements


def _identity(p: Packet) -> tuple[object, ...]:
    digest = blake2b(p.payload, digest_size=8).hexdigest()
    return community_id_of(p), p.ip_id, p.seq, p.ack, p.payload_len, flag_letters(p.flags), digest


def _event_identity(event: Event, trigger: Mapping[str, Any]) -> tuple[object, ...]:
    keys = ("ip_id", "seq", "ack", "length", "flags", "digest")
    return (event["flow"]["community_id"], *(trigger[key] for key in keys))


def _last_before(journeys: Sequence[Journey], time_ns: int) -> Journey | None:
    """The one that had reached the box by then, the latest; else the first."""
    at_box = [j for j in journeys if j.places[1] in j.seen]
    earlier = [j for j in at_box if j.seen[j.places[1]].time_ns <= time_ns]
    if earlier:
        return earlier[-1]
    return at_box[0] if at_box else None


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
        other.forged is not None
        and other.packet.flags & RST
        and (other.packet.src, other.packet.sport, other.packet.dst, other.packet.dport) == ends
        and sender in other.seen
        and other.seen[sender].time_ns <= sent_ns
        for other in journeys
    )
