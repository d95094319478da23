"""Captures and events put together: what the box says it did, found on the wire, and what does not fit.

`explain` writes into each journey what the events say of it, joins the two halves of a packet that the box changed, and
returns every disagreement. None means that the box was honest: all it wrote down is on the wire, and all that is on the
wire and that no host sent is written down.

Must never: excuse a packet. What no event explains is a disagreement.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from typing import Any

from middlebox.packet import Packet, decode, flag_letters
from scenarios.captures import fingerprint
from scenarios.journeys import Event, Journey, community_id_of

BOX_TRANSIT_NS = 20_000_000
"""No packet takes longer through the box, unless it is held, which an event says (chosen; usual are 0.1 to 5 ms)."""


@dataclass(frozen=True, slots=True)
class Disagreement:
    """Something that events and captures do not agree about.

    what: one line; journey: the packet on the wire, if there is one; event: what was written, if anything
    """

    what: str
    journey: Journey | None = None
    event: Event | None = None


def explain(
    journeys: list[Journey],
    events: Iterable[Event],
    *,
    box: frozenset[bytes] = frozenset(),
    may_get_lost: Callable[[Journey], bool] = lambda journey: False,
) -> list[Disagreement]:
    """Write into the journeys what the events say of them; return what does not fit, empty for an honest box.

    journeys: all of a world; the two halves of a rewritten packet become one. box: addresses of the box itself.
    may_get_lost: whether a forged packet that has left the box need not arrive.
    """
    by_kind: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_kind[event["event"]].append(event)
    disagreements = [
        Disagreement(f"first seen at {j.frame(j.began_at)}, sent by nobody", j)
        for j in journeys
        if (j.began_at == 1 and j.places[0]) or j.began_at == 3
    ]
    by_identity: dict[tuple[object, ...], list[Journey]] = defaultdict(list)
    for journey in journeys:
        by_identity[_identity(journey.packet)].append(journey)
    _join_redirected(by_kind["connection_redirected"], journeys)
    disagreements += _explain_rewritten(by_kind["packet_rewritten"], by_identity, journeys)
    disagreements += _explain_forged(by_kind["packet_forged"], journeys, box)
    disagreements += [
        Disagreement(f"forged, left the box at {j.frame(2)}, never arrived", j, j.forged)
        for j in journeys
        if j.forged is not None and not j.arrived and j.places[-1] and not may_get_lost(j)
    ]
    disagreements += _explain_dropped(by_kind["packet_dropped"], by_identity, journeys)
    for event in by_kind["rule_matched"]:
        trigger = _last_before(
            by_identity.get(_event_identity(event, event["trigger"]), ()), event["time_ns"]
        )
        if trigger is not None and event.get("acted", True):
            trigger.matched.append(event)
    return disagreements


def without_cut_off(
    disagreements: Iterable[Disagreement], *, ended_ns: int, left_over: Collection[str]
) -> list[Disagreement]:
    """Less those about packets that the captures may hold in part: under way as they began or as they ended.

    ended_ns: until then the box was there and all captures hold everything
    left_over: Community IDs of connections from before
    """

    def cut_off(journey: Journey) -> bool:
        last_ns = max(captured.time_ns for captured in journey.seen.values())
        return last_ns > ended_ns - BOX_TRANSIT_NS or community_id_of(journey.packet) in left_over

    return [d for d in disagreements if d.event is not None or d.journey is None or not cut_off(d.journey)]


# --- redirected ----------------------------------------------------------------------------------------------------


def _join_redirected(events: list[Event], journeys: list[Journey]) -> None:
    """A packet of a connection that was led elsewhere goes on with another address, and all else as it was.

    Its journey's packet is the one on the client's side of the box, whichever way it goes: there the connection is what
    the client means it to be.
    """
    waiting: dict[tuple[object, ...], list[Journey]] = defaultdict(list)
    ends = {_ends_of(event): (ip_address(event["to"]).packed, event["to_port"]) for event in events}
    if not ends:
        return
    for journey in journeys:
        if journey.ended_at == 1:
            waiting[_addressed(journey.packet, ends)].append(journey)
    for changed in [journey for journey in journeys if journey.began_at == 2]:
        candidates = waiting.get(_addressed(changed.packet, ends))
        if candidates:
            original = candidates.pop(0)
            original.places = (*original.places[:2], *changed.places[2:])
            _join(original, changed, journeys)
            if (changed.packet.dst, changed.packet.dport, changed.packet.src, changed.packet.sport) in ends:
                original.packet, original.leaves_as = changed.packet, original.packet


_Ends = tuple[bytes, int, bytes, int]


def _ends_of(event: Event) -> _Ends:
    flow = event["flow"]
    return (
        ip_address(flow["client"]).packed, flow["client_port"],
        ip_address(flow["server"]).packed, flow["server_port"],
    )  # fmt: skip


def _addressed(p: Packet, ends: Mapping[_Ends, tuple[bytes, int]]) -> tuple[object, ...]:
    """A packet as it is between its client and the host that it was led to."""
    src, dst = (p.src, p.sport), (p.dst, p.dport)
    src, dst = ends.get((*dst, *src), src), ends.get((*src, *dst), dst)
    return src, dst, p.protocol, p.ip_id, p.flags, p.seq, p.ack, p.payload


# --- rewritten -----------------------------------------------------------------------------------------------------


def _explain_rewritten(
    events: list[Event], by_identity: Mapping[tuple[object, ...], list[Journey]], journeys: list[Journey]
) -> list[Disagreement]:
    disagreements = []
    unsent = [journey for journey in journeys if journey.began_at == 2]
    for event in events:
        before = by_identity.get(_event_identity(event, event["packet"]), [])
        original = next((j for j in before if j.ended_at == 1 and j.rewritten is None), None)
        packet = decode(bytes.fromhex(event["rewritten"]))
        assert packet is not None, "the box wrote down a packet that is none"
        wanted = fingerprint(packet)
        changed = next((j for j in unsent if fingerprint(j.packet) == wanted), None)
        if original is None or changed is None:
            missing = "went in" if original is None else "came out"
            disagreements.append(
                Disagreement(f"rewritten by the events, but no such packet {missing}", changed, event)
            )
            continue
        original.rewritten = event
        _join(original, changed, journeys)
        unsent.remove(changed)
    _join_translated({event["flow"]["community_id"] for event in events}, unsent, journeys)
    return disagreements


def _join_translated(flows: set[str], unsent: list[Journey], journeys: list[Journey]) -> None:
    """In a connection whose data changed in length, later packets pass with other numbers and the same content."""
    if not flows:
        return
    waiting: dict[tuple[object, ...], list[Journey]] = defaultdict(list)
    for journey in journeys:
        if journey.ended_at == 1 and journey.leaves_as is None and community_id_of(journey.packet) in flows:
            waiting[_content(journey.packet)].append(journey)
    for changed in unsent:
        candidates = waiting.get(_content(changed.packet))
        if candidates:
            _join(candidates.pop(0), changed, journeys)


def _content(p: Packet) -> tuple[object, ...]:
    """What stays of a packet whose sequence numbers are translated."""
    return p.src, p.sport, p.dst, p.dport, p.ip_id, p.flags, p.payload


def _join(original: Journey, changed: Journey, journeys: list[Journey]) -> None:
    original.seen |= changed.seen
    original.leaves_as = changed.packet
    journeys.remove(changed)


# --- forged and dropped --------------------------------------------------------------------------------------------


def _explain_forged(
    events: list[Event], journeys: Sequence[Journey], box: frozenset[bytes]
) -> list[Disagreement]:
    waiting: dict[bytes, list[Event]] = defaultdict(list)
    disagreements = []
    for event in events:
        packet = decode(bytes.fromhex(event["packet"]))
        assert packet is not None, "the box wrote down a packet that is none"
        waiting[fingerprint(packet)].append(event)
    for journey in journeys:
        if journey.began_at != 2:
            continue
        candidates = waiting.get(fingerprint(journey.packet))
        if candidates:
            journey.forged = candidates.pop(0)
        elif journey.packet.src not in box:
            what = f"left the box at {journey.frame(2)}, came from nowhere, and is in no event"
            disagreements.append(Disagreement(what, journey))
    for left in waiting.values():
        for event in left:
            what = f"forged towards {event['towards']} by the events, on no wire"
            disagreements.append(Disagreement(what, None, event))
    return disagreements


def _explain_dropped(
    events: list[Event], by_identity: Mapping[tuple[object, ...], list[Journey]], journeys: Sequence[Journey]
) -> list[Disagreement]:
    dropped_flows: dict[str, Event] = {}
    disagreements = []
    for event in events:
        dropped_flows.setdefault(event["flow"]["community_id"], event)
        candidates = by_identity.get(_event_identity(event, event["packet"]), [])
        found = next((j for j in candidates if j.ended_at == 1 and j.dropped is None), None)
        if found is None:
            what = "dropped by the events, but it passed or was never there"
            disagreements.append(Disagreement(what, None, event))
        else:
            found.dropped = event
    for journey in journeys:
        if journey.ended_at != 1 or journey.dropped is not None:
            continue
        # A flow that is to be dropped as a whole is dropped by the kernel after the first packet, without an event.
        journey.dropped = dropped_flows.get(community_id_of(journey.packet))
        if journey.dropped is None:
            what = f"went into the box at {journey.frame(1)}, never came out, and is in no event"
            disagreements.append(Disagreement(what, journey))
    return disagreements


# --- identities ----------------------------------------------------------------------------------------------------


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
