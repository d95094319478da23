"""A run as the report gets it, made from the staged incident: no lab, no root. Not a test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from middlebox.load import load_profile
from scenarios.checks import View, check, own_checks
from scenarios.detectors.two_ended import find_unsent_resets
from scenarios.explanation import explain
from scenarios.journeys import collect
from scenarios.model import Count, Expectation, ExpectEvents, ExpectOutcome, Step
from scenarios.record import MAIN, Play, Record, StepRun, World
from scenarios.result import to_json
from tests.unit.staged import BEGIN_NS, Stage, handshake, starttls_block

FAMILIES = {
    4: {},
    6: {"client": "2001:db8:1::11", "server": "2001:db8:3::25"},
}
RULE = "reset-both-on-starttls"


def quiet_stage(**ends: Any) -> Stage:
    """The same step past a box that is not there."""
    stage = Stage(**ends)
    handshake(stage)
    stage.send("client", "PA", b"STARTTLS\r\n")
    stage.send("client", "FA")
    return stage


def incident(**ends: Any) -> Stage:
    """`starttls_block` by the shipped rule's name."""
    stage = starttls_block(**ends)
    for event in stage.events:
        event["rule"] = RULE
    return stage


def step_run(stage: Stage, outcome: str) -> StepRun:
    """What the runner would have noted of the step `send`."""
    ends = stage.ends
    return StepRun(
        step=Step("send", "sim1", "smtplib-submission"), outcome=outcome, succeeded=outcome == "delivered",
        exit_status=0 if outcome == "delivered" else 1, seconds=0.3, started_ns=BEGIN_NS, ended_ns=BEGIN_NS + 10**9,
        output="", command="python send.py", version="Python 3", client=ends.client, server=ends.server,
        server_host="mail", port=587, flows=[ends],
    )  # fmt: skip


def world(directory: Path, name: str, expect: Sequence[Expectation], *, outcome: str) -> World:
    """A judged world with one play per IP version."""
    with_box = name == MAIN
    stages = {
        family: incident(**ends) if with_box else quiet_stage(**ends) for family, ends in FAMILIES.items()
    }
    events = [event for stage in stages.values() for event in stage.events]
    found = World(name, f"why {name}", directory / "captures", with_box=with_box, events=events)
    findings = []
    views = []
    for family, stage in stages.items():
        captures = stage.sorted()
        journeys = collect(captures, stage.world)
        found.journeys = [*found.journeys, *journeys]
        findings += find_unsent_resets(captures["sim1"], captures["mail"])
        play = Play(family, [step_run(stage, outcome)])
        found.plays.append(play)
        views.append(View(play, found, captures))
    found.disagreements = explain(found.journeys, events)
    for view in views:
        view.play.checks = [check(expectation, view) for expectation in expect]
    found.checks = own_checks(found, findings)
    return found


def record(directory: Path, *, expected: str = "connection-reset") -> Record:
    """A run of the incident with one control. expected: outcome that its author expected."""
    expect = [
        ExpectOutcome("send", (expected,)),
        ExpectEvents("packet_forged", Count(1, None, ">=1"), RULE, "both"),
    ]
    run = Record(
        "starttls-block", "both ends are reset", "20260101T000000Z-starttls-block-abcd", directory, 7
    )
    run.worlds = [
        world(directory, MAIN, expect, outcome="connection-reset"),
        world(directory, "no-middlebox", [ExpectOutcome("send", ("success",))], outcome="delivered"),
    ]
    run.seconds = 3.21
    return run


def result(directory: Path, **options: Any) -> dict[str, Any]:
    """The same as data, with a paragraph about it."""
    about = {"about": "The connection comes up, and is reset."}
    return to_json(record(directory, **options), [load_profile("tmobile-uk-2012")]) | about
