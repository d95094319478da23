"""From captures and events to checks: which flow was whose, where each packet went, and whether all is as expected.

Must never: run anything. It can be repeated on the files of an old run and must say the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.capture import annotate
from middlebox.packet import ACK, SYN
from scenarios.captures import Captured, read_capture
from scenarios.checks import View, check, own_checks, problems_of
from scenarios.detectors.two_ended import Finding, find_unsent_resets
from scenarios.explanation import explain, without_cut_off
from scenarios.journeys import Journey, World as Places, collect
from scenarios.model import Expectation
from scenarios.record import FlowEnds, Play, World


def judge(
    world: World,
    expect: Sequence[Expectation],
    paths: Mapping[str, Path],
    places: Places,
    *,
    box_status: int | None,
) -> None:
    """Fill in everything that a world's files say: flows, journeys, findings, checks, problems, packet comments.

    paths: place -> its capture file, complete; the files get their comments. world.events must be there.
    """
    captures = {place: in_time_order(read_capture(path)) for place, path in paths.items()}
    for play in world.plays:
        assign_flows(play, captures)
    journeys = collect(captures, places)
    found = explain(journeys, world.events, box=places.box, may_get_lost=places.may_get_lost)
    world.journeys = journeys
    world.disagreements = without_cut_off(found, ended_ns=world.ended_ns, left_over=world.left_over)
    hosts = {name: {a for a, host in places.hosts.items() if host == name} for name in places.hosts.values()}
    for play in world.plays:
        view = View(play, world, captures)
        play.checks = [check(expectation, view) for expectation in expect]
    world.checks = own_checks(world, two_ended(captures, hosts, places))
    world.problems += problems_of(
        world, box_status=box_status, must_act=not (world.is_control or world.genuine)
    )
    write_comments(world.journeys, paths)


def in_time_order(packets: list[Captured]) -> list[Captured]:
    """Packets by time with frame numbers to match, as they will be in the file once it has its comments."""
    packets.sort(key=lambda captured: captured.time_ns)
    return packets


def assign_flows(play: Play, captures: Mapping[str, Sequence[Captured]]) -> None:
    """Give each step the connections that its client opened: host, server, port and time of the first packet tell.

    The first packet is a SYN, but for datagrams and raw packets without a handshake: then it is the first from its port
    at all. Ports that a client has told are its own and nobody else's.
    """
    told = {(run.client, run.server, run.port, port) for run in play.steps for port in run.ports}
    for run in play.steps:
        seen: dict[int, FlowEnds] = {}
        known: set[int] = set()
        for captured in captures[run.step.on]:
            p = captured.packet
            if p.protocol != run.protocol or (p.src, p.dst, p.dport) != (run.client, run.server, run.port):
                continue
            opens = p.flags & (SYN | ACK) == SYN or p.sport not in known
            known.add(p.sport)
            if run.ports:
                opens = p.sport in run.ports
            elif (run.client, run.server, run.port, p.sport) in told:
                continue
            if opens and run.started_ns <= captured.time_ns <= run.ended_ns:
                ends = FlowEnds(
                    run.client, p.sport, run.server, run.port, run.step.on, run.server_host, run.protocol
                )
                seen.setdefault(p.sport, ends)
        run.flows = list(seen.values())


def two_ended(
    captures: Mapping[str, Sequence[Captured]], hosts: Mapping[str, set[bytes]], places: Places
) -> list[Finding]:
    """Findings of the two-ended detector for every pair of an inside host and an outside one, whichever of them was the
    client. It sees only the ends."""
    inside = {name for name, addresses in hosts.items() if all(map(places.inside, addresses))}
    pairs = [(a, b) for a in sorted(inside) for b in sorted(set(hosts) - inside)]
    findings: list[Finding] = []
    for client, server in (*pairs, *((b, a) for a, b in pairs)):
        findings += find_unsent_resets(
            captures[client],
            captures[server],
            client_addresses=hosts[client],
            server_addresses=hosts[server],
        )
    return findings


# --- packet comments -----------------------------------------------------------------------------------------------


def write_comments(journeys: Sequence[Journey], paths: Mapping[str, Path]) -> None:
    """Say in every capture file which packets were forged, dropped, or set off a rule. Also orders them by time."""
    comments: dict[str, dict[tuple[int, bytes], str]] = {place: {} for place in paths}
    for journey in journeys:
        comment = comment_on(journey)
        if comment:
            for place, captured in journey.seen.items():
                comments[place][captured.time_ns, captured.packet.data] = comment
    for place, path in paths.items():
        known = comments[place]
        annotate(path, lambda packet, time_ns, known=known: known.get((time_ns, packet)))  # type: ignore[misc]


def comment_on(journey: Journey) -> str:
    """What the box did with a packet, in words; empty for one that it let pass unnoticed."""
    notes = []
    if (forged := journey.forged) is not None:
        trigger = forged["trigger"]
        notes.append(
            f"FORGED by {forged['profile']}/{forged['rule']}, towards {forged['towards']}, trigger {trigger['flags']} "
            f"seq {trigger['seq']} length {trigger['length']}"
        )
    elif journey.began_at == 2:
        notes.append("FROM NOWHERE: left the box, never went in, and no event says that it was forged")
    if (rewritten := journey.rewritten) is not None:
        notes.append(f"REWRITTEN by {rewritten['profile']}/{rewritten['rule']}")
    elif journey.redirected:
        notes.append("REDIRECTED: its connection was led to another host")
    elif journey.leaves_as is not None:
        notes.append("TRANSLATED: sequence numbers moved, as data before it changed in length")
    if (dropped := journey.dropped) is not None:
        notes.append(f"DROPPED by {dropped['profile']}/{dropped['rule']}")
    notes += [
        f"TRIGGER of rule {event['profile']}/{event['rule']} ({', '.join(event['actions'])})"
        for event in journey.matched
    ]
    return "; ".join(notes)
