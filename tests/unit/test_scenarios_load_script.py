"""Faults and scripts as the file writes them, and a scenario whose truth is genuine."""

from __future__ import annotations

from pathlib import Path

from lab.faults import FAULTS
from lab.topology import Role
from scenarios.load_steps import Play
from scenarios.model import Count, ExpectEvents, Fault, ScriptLine, Topology, steps_of
from tests.unit.yaml_files import scenario

TEXT = """
scenario: x
purpose: to be read
truth: genuine
topology: {hops_before_box: 2}
middlebox: {profile: watch-keyword}
services: {peer: answer}
steps:
  - {fault: duplicate-syn, on: sim1}
  - on: sim1
    client: tcp-script
    to: peer.example
    as: talk
    script: [{send: 3}, {send: "hello"}, {receive: 8}, {fault: cut, on: access2}, end, abort]
expect:
  - {step: talk, outcome: timeout}
  - {events: flow_seen}
controls: [no-middlebox]
"""


def test_script_is_read_line_by_line(tmp_path: Path) -> None:
    """Bytes by number or as text, faults with their node, words."""
    loaded = scenario(tmp_path, TEXT)
    assert loaded.steps[0] == Fault("duplicate-syn", "sim1")
    assert next(steps_of(loaded.steps)).script == (
        ScriptLine("send", data=b"xxx"),
        ScriptLine("send", data=b"hello"),
        ScriptLine("receive", size=8),
        ScriptLine("fault", fault=Fault("cut", "access2")),
        ScriptLine("end"),
        ScriptLine("abort"),
    )


def test_faults_have_nodes_where_they_can_happen() -> None:
    """Every kind of node that a fault asks for is known to the loader."""
    play = Play(Topology(), {"mail": "embedded"}, None, {})
    assert (
        {kind.role for kind in FAULTS.values()}
        == set(play.nodes)
        == {Role.ROUTER, Role.SUBSCRIBER, Role.SERVER}
    )
    assert play.nodes[Role.ROUTER] == ["access1", "transit1", "transit2", "transit3"]
    assert play.nodes[Role.SERVER] == ["mail"]


def test_genuine_scenario_wants_an_idle_box_and_the_same_without_it(tmp_path: Path) -> None:
    """The box forges, drops and changes nothing; without it, all that the packets showed must show again."""
    loaded = scenario(tmp_path, TEXT)
    none = Count(0, 0, "0")
    idle = tuple(ExpectEvents(f"packet_{what}", none) for what in ("forged", "dropped", "rewritten"))
    assert loaded.truth == "genuine"
    assert loaded.expect[-3:] == idle
    (control,) = loaded.controls
    assert control.middlebox is None
    assert control.steps == loaded.steps
    assert control.expect == loaded.expect[:1]
