"""What is to be played: the scenario first, then its controls, each with files of its own."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from scenarios.load import load_scenario
from scenarios.model import Link
from scenarios.record import MAIN, Play, World
from scenarios.runner import Running, Stage, link_spec, named_ports, plans, tidy


def test_runner_plans_are_the_scenario_and_its_controls() -> None:
    """The scenario comes first; a control without a box has none; controls can be left out."""
    scenario = load_scenario("starttls-block")
    found = plans(scenario)
    assert [plan.name for plan in found] == [MAIN, "no-middlebox", "other-port"]
    assert [plan.middlebox is None for plan in found] == [False, True, False]
    assert found[0].expect == scenario.expect
    assert [plan.name for plan in plans(scenario, controls=False)] == [MAIN]


def test_runner_files_of_the_scenario_have_the_names_of_the_contract() -> None:
    """`captures/`, `events.jsonl`, `box.yaml`; those of a control say which control."""
    main, control, *_ = plans(load_scenario("starttls-block"))
    assert (main.captures, main.file("events", "jsonl"), main.file("box", "yaml")) == (
        "captures",
        "events.jsonl",
        "box.yaml",
    )
    assert control.captures == "captures/control-no-middlebox"
    assert control.file("events", "jsonl") == "control-no-middlebox-events.jsonl"


def test_runner_ports_that_steps_ask_for_are_nobody_elses() -> None:
    """By the host that they are on, all connections of a step, those of the controls too."""
    ports = named_ports(load_scenario("gfw-443-2025"))
    many_syns, from_outside, answer = range(40_000, 40_020), range(50_001, 50_002), range(443, 444)
    assert {name: set(of_host) for name, of_host in ports.items()} == {
        "sim1": {many_syns}, "web": {from_outside}, "sim2": {answer}
    }  # fmt: skip
    assert named_ports(load_scenario("starttls-block")) == {}


def test_runner_links_keep_their_units() -> None:
    """Nanoseconds and bits per second, as the lab wants them."""
    spec = link_spec(Link(delay_ns=5_000_000, rate_bits=10_000_000, loss=0.01))
    assert (spec.delay_ns, spec.rate_bits, spec.loss) == (5_000_000, 10_000_000, 0.01)


@pytest.mark.parametrize(
    ("slug", "outcome", "unfinished"),
    [
        ("stripper", "clear-text", False),
        ("stripper", "timeout", True),
        ("stripper-lossy", "clear-text", True),
    ],
)
def test_runner_ends_are_silenced_where_they_may_still_send(
    slug: str, outcome: str, unfinished: bool, tmp_path: Path
) -> None:
    """After a timeout, and where a FIN may have been lost: nothing may pass behind the box's back when it ends."""
    scenario = load_scenario(slug)
    stage: Any = Stage.__new__(Stage)  # of a lab only its scenario is asked
    stage._scenario = scenario
    step: Any = SimpleNamespace(outcome=outcome)
    world = World(MAIN, "", tmp_path, True)
    world.plays = [Play(4, steps=[step])]
    running = Running(stage, plans(scenario)[0], None, world, ExitStack())
    assert running.unfinished is unfinished


def test_runner_tidy_keeps_what_the_contract_names(tmp_path: Path) -> None:
    """Captures, events, result and servers' folders stay; homes, keys and scripts go."""
    for name in ("captures", "services/mail", "services/pki", "clients/scenario/ipv4", "network"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "events.jsonl").touch()
    tidy(tmp_path)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "captures", "events.jsonl", "services", "services/mail",
    ]  # fmt: skip
