"""From files to checks: flows found by their SYNs, comments written into every capture, repeatable."""

from __future__ import annotations

from pathlib import Path

from lab.pcapng import Heading, Record, Writer
from scenarios.captures import read_capture
from scenarios.explanation import explain
from scenarios.journeys import collect
from scenarios.judge import assign_flows, comment_on, judge
from scenarios.model import ExpectOutcome
from scenarios.record import MAIN, Play, World
from tests.unit.played import incident, step_run
from tests.unit.staged import PLACES, Stage, handshake


def write_pcapng(directory: Path, stage: Stage) -> dict[str, Path]:
    """The stage's captures as the lab writes them."""
    paths = {}
    for place, packets in stage.sorted().items():
        paths[place] = directory / f"{place}.pcapng"
        with paths[place].open("wb") as file:
            writer = Writer(file)
            writer.add_interface(place, snap_bytes=65535)
            for captured in packets:
                ethertype = b"\x08\x00" if captured.packet.version == 4 else b"\x86\xdd"
                frame = b"\2\0\0\0\0\1\2\0\0\0\0\2" + ethertype + captured.packet.data
                writer.write(Record(place, captured.time_ns, frame, len(frame), Heading.UNKNOWN))
    return paths


def judged(directory: Path, stage: Stage) -> tuple[World, dict[str, Path]]:
    paths = write_pcapng(directory, stage)
    run = step_run(stage, "connection-reset")
    run.flows = []
    world = World(MAIN, "", directory, with_box=True, plays=[Play(4, [run])])
    world.events = [*stage.events, {"event": "run_ended", "valid": True}]
    judge(world, [ExpectOutcome("send", ("connection-reset",))], paths, stage.world, box_status=0)
    return world, paths


def test_judge_finds_flow_checks_and_findings_in_the_files(tmp_path: Path) -> None:
    """From the captures alone: the step's flow, two findings, three good checks, no problem."""
    world, _ = judged(tmp_path, incident())
    (flow,) = world.plays[0].steps[0].flows
    assert (flow.client_port, flow.server_port) == (45678, 587)
    assert len(world.findings) == 2
    assert world.passed
    assert world.problems == []


def test_judge_writes_comments_into_every_capture(tmp_path: Path) -> None:
    """Forged packets name profile, rule, receiver and trigger wherever they were seen; so does the trigger."""
    _, paths = judged(tmp_path, incident())
    for place in PLACES:
        comments = [comment for captured in read_capture(paths[place]) for comment in captured.comments]
        assert (
            sum(
                comment.startswith("TRIGGER of rule tmobile-uk-2012/reset-both-on-starttls")
                for comment in comments
            )
            == 1
        )
        forged = [comment for comment in comments if comment.startswith("FORGED by tmobile-uk-2012/")]
        towards = "client" if place in ("sim1", "box-inside") else "server"
        assert forged == [
            f"FORGED by tmobile-uk-2012/reset-both-on-starttls, towards {towards}, trigger PA seq 13 length 10"
        ]


def test_judge_says_the_same_the_second_time(tmp_path: Path) -> None:
    """The files of an old run can be judged again."""
    first, paths = judged(tmp_path, incident())
    run = step_run(incident(), "connection-reset")
    again = World(MAIN, "", tmp_path, with_box=True, plays=[Play(4, [run])], events=first.events)
    judge(again, [], paths, incident().world, box_status=0)
    assert again.findings == first.findings
    assert [check.seen for check in again.checks] == [check.seen for check in first.checks]


def test_judge_gives_a_step_only_its_own_connections() -> None:
    """Another port, another time, another host: not this step's."""
    stage = incident()
    run = step_run(stage, "connection-reset")
    late, other_port = Stage(client_port=50001, time_ms=5000), Stage(client_port=50002, server_port=25)
    for one in (late, other_port):
        handshake(one)
        stage.captures["sim1"] += one.captures["sim1"]
    play = Play(4, [run])
    assign_flows(play, stage.sorted())
    assert [flow.client_port for flow in run.flows] == [45678]


def test_judge_comment_of_a_secret_forgery_says_so() -> None:
    """A packet from nowhere is called that."""
    stage = incident()
    journeys = collect(stage.sorted(), stage.world)
    explain(journeys, [])
    comments = [comment_on(journey) for journey in journeys]
    assert sum(comment.startswith("FROM NOWHERE") for comment in comments) == 2
    assert sum(bool(comment) for comment in comments) == 2
