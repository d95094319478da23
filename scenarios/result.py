"""A run as data: `result.json`, which is also what `tamperlab run --json` prints and what the report is drawn from.

Schema version 1, documented in docs/runs.md. Only JSON values; paths are relative to the run's folder, times in
milliseconds where the name says so, else nanoseconds since 1970.

Must never: judge. It says what `scenarios.record` holds.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from middlebox.profile import Profile
from scenarios.errors import ArgumentError
from scenarios.journeys import Journey
from scenarios.record import SCHEMA, CheckResult, Ends, Evidence, Play, Record, StepRun, World, ends_of
from scenarios.report.ladder import ladder
from scenarios.runs import RESULT

Json = dict[str, Any]


def to_json(record: Record, profiles: Sequence[Profile]) -> Json:
    """The whole run. profiles: those of its boxes, for the filters that show what set them off."""
    return {
        "schema": SCHEMA,
        "scenario": record.scenario,
        "purpose": record.purpose,
        "run_id": record.run_id,
        "directory": str(record.directory),
        "seed": record.seed,
        "truth": record.truth,
        "time_scale": record.time_scale,
        "valid": record.valid,
        "passed": record.passed,
        "exit_status": record.exit_status,
        "seconds": round(record.seconds, 2),
        "worlds": [_world(world, record.directory) for world in record.worlds],
        "filters": _filters(record.worlds, profiles),
        "facts": record.facts,
    }


def about(scenario_path: str) -> str:
    """The first paragraph of the README beside a scenario, in one line; empty where there is none.

    Only a folder with a `scenario.yaml` is about one scenario; a README beside any other file is about something else.
    """
    readme = Path(scenario_path).with_name("README.md")
    if Path(scenario_path).name != "scenario.yaml" or not readme.is_file():
        return ""
    for paragraph in readme.read_text(encoding="utf-8").split("\n\n"):
        if paragraph.strip() and not paragraph.lstrip().startswith("#"):
            return " ".join(paragraph.split())
    return ""


def write_result(directory: Path, result: Json) -> Path:
    """Write result.json in one move: whoever finds it finds all of it."""
    beside = directory / f".{RESULT}"
    beside.write_text(json.dumps(result) + "\n")
    beside.replace(directory / RESULT)
    return directory / RESULT


def read_result(directory: Path) -> Json:
    """result.json of a run. ArgumentError: written by another version of the lab, or damaged."""
    result: Json = json.loads((directory / RESULT).read_text())
    if result.get("schema") != SCHEMA:
        raise ArgumentError(
            f"expected schema {SCHEMA} in {directory / RESULT}, got {result.get('schema')!r}; run it again"
        )
    return result


_Connections = Mapping[Ends, Sequence[Journey]]
"""The journeys of each connection, by the time they began."""


def _by_connection(journeys: Iterable[Journey]) -> _Connections:
    connections: dict[Ends, list[Journey]] = defaultdict(list)
    for journey in journeys:
        connections[ends_of(journey.packet)].append(journey)
    return connections


def _world(world: World, directory: Path) -> Json:
    connections = _by_connection(world.journeys)
    return {
        "name": world.name,
        "why": world.why,
        "control": world.is_control,
        "with_box": world.with_box,
        "captures": os.path.relpath(world.captures, directory),
        "problems": list(world.problems),
        "passed": world.passed,
        "box": world.box,
        "plays": [_play(play, connections) for play in world.plays],
        "checks": [_check(check, connections) for check in world.checks],
        "findings": [asdict(finding) for finding in world.findings],
        "events": _count(str(event["event"]) for event in world.events),
    }


def _play(play: Play, connections: _Connections) -> Json:
    return {
        "family": play.family,
        "passed": play.passed,
        "steps": [_step(run, connections) for run in play.steps],
        "delivered": list(play.delivered),
        "checks": [_check(check, connections) for check in play.checks],
    }


def _step(run: StepRun, connections: _Connections) -> Json:
    flows = [
        flow.as_json() | {"ladder": [row.as_json() for row in ladder(connections.get(flow.ends, ()), flow)]}
        for flow in run.flows
    ]
    return run.as_json() | {"flows": flows}


def _check(check: CheckResult, connections: _Connections) -> Json:
    return {
        "expectation": check.expectation,
        "passed": check.passed,
        "seen": check.seen,
        "own": check.own,
        "evidence": [_evidence(evidence, connections) for evidence in check.evidence],
    }


def _evidence(evidence: Evidence, connections: _Connections) -> Json:
    wanted = {id(journey) for journey in evidence.journeys}
    rows = ladder(connections.get(evidence.flow.ends, ()), evidence.flow, only=wanted or None)
    return evidence.flow.as_json() | {"ladder": [row.as_json() for row in rows]}


def _filters(worlds: Sequence[World], profiles: Sequence[Profile]) -> list[Json]:
    """For each rule that matched: the display filter that shows its triggers, and whether Wireshark can read it."""
    matched = {
        (event["profile"], event["rule"])
        for world in worlds
        for event in world.events
        if event["event"] == "rule_matched"
    }
    return [
        {
            "profile": profile.name,
            "rule": rule.name,
            "when": " ".join(rule.when.text.split()),
            "wireshark": rule.when.needs.wireshark,
        }
        for profile in profiles
        for rule in profile.rules
        if (profile.name, rule.name) in matched
    ]


def _count(words: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return counts
