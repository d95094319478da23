"""Expectations and the runner's own checks: pass or fail, with what was seen and the packets that show it.

A check looks at one play (steps over one IP version) and at its world (captures, events). Besides what the scenario
expects, every world is checked for honesty: what the box wrote down is what is on the wire, both ways, and what the
two-ended detector finds is what the box forged.

Must never: run anything, or call a run "not censored" that a box never touched (see `problems_of`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import assert_never

from middlebox.packet import PROTOCOL_TCP, RST, Packet, flag_letters
from scenarios import wire
from scenarios.captures import Captured
from scenarios.crossings import crossed
from scenarios.detectors.two_ended import Finding
from scenarios.journeys import Event, Journey, community_id_of, is_afterwards
from scenarios.model import (
    SUCCESS,
    Expectation,
    ExpectCapture,
    ExpectDelivered,
    ExpectEvents,
    ExpectNeverCrosses,
    ExpectOutcome,
    ExpectWire,
)
from scenarios.record import CheckResult, Evidence, FlowEnds, Play, StepRun, World

SUCCESSES = frozenset({"delivered", "fetched", "connected", "sent"})
"""Outcomes (`lab.clients.base.Outcome`) that `outcome: success` stands for: done, and over TLS where there is TLS."""

ACTIONS_OF_BOX = frozenset(
    {
        "packet_forged", "packet_dropped", "packet_rewritten", "packet_held", "residual_hit",
        "connection_redirected",
    }
)  # fmt: skip
"""Events that prove that a box did something."""

MAX_EVIDENCE_FLOWS = 3
"""A failed check shows the packets of so many flows at most (chosen)."""


@dataclass(frozen=True, slots=True)
class View:
    """What the checks of one play may look at. captures: host -> its packets, all families."""

    play: Play
    world: World
    captures: Mapping[str, Sequence[Captured]]

    def runs(self, step: str | None) -> list[StepRun]:
        return [run for run in self.play.steps if step is None or run.step.name == step]

    def flows(self, step: str | None) -> list[FlowEnds]:
        return [flow for run in self.runs(step) for flow in run.flows]

    def capture_of(self, capture: str, flow: FlowEnds) -> str:
        """The host whose capture is meant: `client` and `server` are the flow's own."""
        return {"client": flow.client_host, "server": flow.server_host}.get(capture, capture)


def check(expectation: Expectation, view: View) -> CheckResult:
    """Pass or fail of one expectation of the scenario."""
    match expectation:
        case ExpectOutcome():
            return _check_outcome(expectation, view)
        case ExpectEvents():
            return _check_events(expectation, view)
        case ExpectCapture():
            return _check_capture(expectation, view)
        case ExpectNeverCrosses():
            return _check_never_crosses(expectation, view)
        case ExpectDelivered():
            return _check_delivered(expectation, view)
        case ExpectWire():
            return _check_wire(expectation, view)
    assert_never(expectation)


def _evidence(
    flows: Iterable[FlowEnds], world: World, wanted: Callable[[Journey], bool]
) -> tuple[Evidence, ...]:
    """The packets of these flows that matter; of a flow without any, the whole flow."""
    found = []
    for flow in flows:
        own = [journey for journey in world.journeys if flow.holds(journey.packet)]
        matter = [journey for journey in own if wanted(journey)]
        if own:
            found.append(Evidence(flow, tuple(matter)))
    return tuple(found[:MAX_EVIDENCE_FLOWS])


# --- expectations of the scenario ----------------------------------------------------------------------------------


def _check_outcome(expect: ExpectOutcome, view: View) -> CheckResult:
    runs = view.runs(expect.step)
    passed = bool(runs) and all(
        run.outcome in expect.outcomes or (run.succeeded and SUCCESS in expect.outcomes) for run in runs
    )
    seen = ", ".join(run.outcome for run in runs) or "the step never ran"
    evidence = () if passed else _evidence(view.flows(expect.step), view.world, lambda journey: False)
    return CheckResult(f"{expect.step} ends with {' or '.join(expect.outcomes)}", passed, seen, evidence)


def _check_events(expect: ExpectEvents, view: View) -> CheckResult:
    flows = view.flows(expect.step)
    ids = {flow.community_id for flow in flows}
    found = [
        event
        for event in view.world.events
        if event["event"] == expect.event
        and _is_of_play(event, view.play, ids if expect.step else None)
        and (expect.rule is None or event.get("rule") == expect.rule)
        and (expect.profile is None or event.get("profile") == expect.profile)
    ]
    if expect.towards == "both":
        counts = {end: sum(event.get("towards") == end for event in found) for end in ("client", "server")}
        passed = all(expect.count.holds(count) for count in counts.values())
        seen = ", ".join(f"{count} towards the {end}" for end, count in counts.items())
    else:
        count = sum(expect.towards is None or event.get("towards") == expect.towards for event in found)
        passed, seen = expect.count.holds(count), str(count)
    text = f"events: {expect.event} {expect.count.text}"
    for word, value in (
        ("by", expect.rule),
        ("of", expect.profile),
        ("towards", expect.towards),
        ("in step", expect.step),
    ):
        text += f", {word} {value}" if value else ""
    evidence = () if passed else _evidence(flows, view.world, lambda journey: _is_marked(journey))
    return CheckResult(text, passed, seen, evidence)


def _is_of_play(event: Event, play: Play, ids: set[str] | None) -> bool:
    """Whether an event belongs to the play: by its flow, or, having none, to every play of the world."""
    flow = event.get("flow")
    if flow is None:
        return ids is None
    if ids is not None:
        return flow["community_id"] in ids
    return ip_address(flow["client"]).version == play.family


def _is_marked(journey: Journey) -> bool:
    return bool(journey.forged or journey.dropped or journey.matched)


def _check_capture(expect: ExpectCapture, view: View) -> CheckResult:
    seen: list[str] = []
    passed = True
    shown: list[FlowEnds] = []
    for name, wanted in expect.counts.items():
        total = 0
        for flow in view.flows(expect.step):
            count = len(_counted(name, flow, view.capture_of(expect.capture, flow), view.world))
            total += count
        if not wanted.holds(total):
            passed = False
            shown = view.flows(expect.step)
        seen.append(f"{name} {total}")
    text = f"capture of {expect.capture}" + (f" in step {expect.step}" if expect.step else "") + ": "
    text += ", ".join(f"{name} {count.text}" for name, count in expect.counts.items())
    if not view.flows(expect.step):
        seen.append("no connection was seen at all")
    evidence = _evidence(shown, view.world, lambda journey: bool(journey.packet.flags & RST))
    return CheckResult(text, passed, ", ".join(seen), evidence)


def _counted(name: str, flow: FlowEnds, capture: str, world: World) -> list[Journey]:
    """The RSTs of a flow, seen in a capture, that a count of CAPTURE_COUNTS means."""
    here = [j for j in world.journeys if capture in j.seen and flow.holds(j.packet)]
    if name == "forged_rst":
        return [j for j in here if j.made_reset is not None and not (j.rewritten and capture == j.places[0])]
    sender = flow.client if name == "genuine_rst_from_client" else flow.server
    resets = [
        j for j in here if j.packet.protocol == PROTOCOL_TCP and j.packet.flags & RST and j.forged is None
    ]
    return [j for j in resets if j.packet.src == sender and not is_afterwards(j, world.journeys)]


def _check_never_crosses(expect: ExpectNeverCrosses, view: View) -> CheckResult:
    offending: dict[str, list[tuple[FlowEnds, Captured]]] = {}
    flows = view.flows(expect.step)
    for flow in flows:
        packets = [c for c in view.captures[view.capture_of(expect.capture, flow)] if flow.holds(c.packet)]
        forged = {id(j.seen[place]) for j in view.world.journeys if j.forged for place in j.seen}
        from_client = [c for c in packets if id(c) not in forged and c.packet.src == flow.client]
        for what in expect.what:
            hits = crossed(from_client, what)
            offending.setdefault(what, []).extend((flow, hit) for hit in hits)
    bad = {what: hits for what, hits in offending.items() if hits}
    text = f"{', '.join(expect.what)} never in the capture of {expect.capture}"
    if not flows:
        return CheckResult(text, False, "no connection was seen at all")
    if not bad:
        return CheckResult(text, True, "none")
    frames = {id(hit) for hits in bad.values() for _, hit in hits}
    evidence = _evidence(
        dict.fromkeys(flow for hits in bad.values() for flow, _ in hits),
        view.world,
        lambda journey: any(id(captured) in frames for captured in journey.seen.values()),
    )
    seen = "; ".join(
        f"{what} in frame {', '.join(str(hit.number) for _, hit in hits)}" for what, hits in bad.items()
    )
    return CheckResult(text, False, seen, evidence)


def _check_wire(expect: ExpectWire, view: View) -> CheckResult:
    flows = view.flows(expect.step)
    forged = {id(seen) for j in view.world.journeys if j.forged for seen in j.seen.values()}
    total = 0
    for flow in flows:
        capture = view.captures[view.capture_of(expect.capture, flow)]
        packets = [c for c in capture if flow.holds(c.packet) and id(c) not in forged]
        journeys = [j for j in view.world.journeys if flow.holds(j.packet)]
        sender = flow.client if expect.sender == "client" else flow.server
        total += wire.count(expect, packets, sender, journeys)
    what = f"{expect.what} {expect.text!r}" if expect.text else expect.what
    if expect.at_least_ns:
        what += f" of {expect.at_least_ns / 1e6:g} ms or more"
    text = f"{what} from {expect.sender}" + (f" at stage {expect.stage}" if expect.stage else "")
    text += f" in the capture of {expect.capture}" + (f" in step {expect.step}" if expect.step else "")
    passed = expect.count.holds(total)
    evidence = () if passed else _evidence(flows, view.world, lambda journey: False)
    seen = str(total) if flows else "no connection was seen at all"
    return CheckResult(f"{text}: {expect.count.text}", passed and bool(flows), seen, evidence)


def _check_delivered(expect: ExpectDelivered, view: View) -> CheckResult:
    count = sum(expect.at is None or host == expect.at for host in view.play.delivered)
    text = f"mails delivered {expect.count.text}" + (f" at {expect.at}" if expect.at else "")
    passed = expect.count.holds(count)
    evidence = () if passed else _evidence(view.flows(None), view.world, lambda journey: False)
    return CheckResult(text, passed, str(count), evidence)


# --- checks of every world -----------------------------------------------------------------------------------------


def check_ground_truth(world: World) -> CheckResult:
    """What the box wrote down is what is on the wire, both ways, at the box and at the ends."""
    forged = sum(journey.forged is not None for journey in world.journeys)
    dropped = sum(journey.dropped is not None for journey in world.journeys)
    seen = f"{forged} forged, {dropped} dropped, in events and captures alike"
    if world.disagreements:
        seen = "; ".join(disagreement.what for disagreement in world.disagreements[:3])
        seen += f"; {len(world.disagreements) - 3} more" if len(world.disagreements) > 3 else ""
    evidence = [
        Evidence(_ends_of(journey), (journey,))
        for d in world.disagreements
        if (journey := d.journey) is not None
    ]
    text = "ground truth equals wire" if world.with_box else "nothing forged or dropped without a box"
    return CheckResult(text, not world.disagreements, seen, tuple(evidence[:MAX_EVIDENCE_FLOWS]), own=True)


def _ends_of(journey: Journey) -> FlowEnds:
    p = journey.packet
    hosts = (journey.places[0] or "?", journey.places[-1] or "?")
    return FlowEnds(p.src, p.sport, p.dst, p.dport, *hosts, p.protocol)


def check_two_ended(world: World) -> CheckResult:
    """The RSTs that neither end sent, by the two captures alone, are those the box forged and that arrived, no more.

    That what the events tell of is on the wire is `check_ground_truth`'s business. An end's own RST whose numbers the
    box has moved may be found: as it arrived, nobody has sent it. Connections left over from a world before are on
    neither side, see `own_checks`.
    """
    left_over = world.left_over
    truth: Counter[_ResetName] = Counter()
    for journey in world.journeys:
        if community_id_of(journey.packet) in left_over:
            continue
        if journey.arrived and (made := journey.made_reset) is not None:
            p, towards = made
            truth[_reset_name(p, towards)] += 1
    found = Counter((f.community_id, f.towards, f.seq, f.ack, f.flags, f.ip_id) for f in world.findings)
    moved = Counter(
        _reset_name(reset, towards)
        for journey in world.journeys
        if (reset := journey.moved_reset) is not None
        for towards in ("client", "server")
    )
    missed, invented = truth - found, found - truth - moved
    seen = f"{len(world.findings)} found, {truth.total()} forged"
    if missed:
        seen += f"; missed {_name_resets(missed)}"
    if invented:
        seen += f"; wrongly blamed {_name_resets(invented)}"
    ids = {name[0] for name in missed | invented}
    evidence = [
        Evidence(_ends_of(journey), (journey,))
        for journey in world.journeys
        if journey.packet.flags & RST and community_id_of(journey.packet) in ids
    ]
    text = "two-ended detector finds exactly the forged RSTs"
    return CheckResult(
        text, not missed and not invented, seen, tuple(evidence[:MAX_EVIDENCE_FLOWS]), own=True
    )


_ResetName = tuple[str, str, int, int, str, int | None]
"""(Community ID, towards, seq, ack, flags, IP ID)"""


def _reset_name(p: Packet, towards: str) -> _ResetName:
    return community_id_of(p), towards, p.seq, p.ack, flag_letters(p.flags), p.ip_id


def _name_resets(resets: Counter[_ResetName]) -> str:
    return ", ".join(
        f"{name[4]} towards {name[1]} seq {name[2]} (x{count})" for name, count in resets.items()
    )


# --- validity ------------------------------------------------------------------------------------------------------


def problems_of(world: World, *, box_status: int | None, must_act: bool) -> list[str]:
    """Why a world proves nothing; empty when it is valid.

    box_status: exit status of the box process, None without a box. must_act: nothing may be concluded unless the box is
    seen to have acted (so in the scenario itself; a control may be about a box with nothing to do).
    """
    if not world.with_box:
        return []
    errors = Counter(event["error"] for event in world.events if event["event"] == "engine_error")
    problems = [
        f"the box's engine failed{f' {count} times' if count > 1 else ''}: {error}"
        for error, count in errors.items()
    ]
    overflows = [event for event in world.events if event["event"] == "queue_overflow"]
    if overflows:  # each counts from the start of the box
        lost = overflows[-1]["dropped"] + overflows[-1]["user_dropped"]
        problems.append(f"the box's queue overflowed: {lost} packets passed or vanished unseen")
    ended = [event for event in world.events if event["event"] == "run_ended"]
    if not ended:
        problems.append("the box ended without a last word")
    elif not ended[-1]["valid"] and not problems:
        problems.append("the box itself says that its run is invalid")
    if box_status not in (0, 4):
        problems.append(f"expected the box to end with status 0, got {box_status}")
    if must_act:
        acted = [event for event in world.events if event["event"] in ACTIONS_OF_BOX]
        problems += [
            f"the box was never seen to act over IPv{play.family}; this proves nothing about anybody"
            for play in world.plays
            if not any(_is_of_play(event, play, None) for event in acted)
        ]
    return problems


def own_checks(world: World, findings: Sequence[Finding]) -> list[CheckResult]:
    """The checks that every world gets, whatever its scenario expects."""
    # Of a connection that was led elsewhere each end knows another address: there are no two ends to compare.
    led = [journey for journey in world.journeys if journey.redirected]
    ids = {
        community_id_of(p) for journey in led for p in (journey.packet, journey.leaves_as) if p is not None
    }
    ids |= world.left_over  # a RST of theirs may have been sent before these captures began
    world.findings = [finding for finding in findings if finding.community_id not in ids]
    return [check_ground_truth(world), check_two_ended(world)]
