"""What a run holds: names of flows, validity, exit status."""

from __future__ import annotations

from pathlib import Path

from scenarios.record import FlowEnds, Record, World
from tests.unit.played import record
from tests.unit.staged import Stage

ENDS = FlowEnds(Stage.pack("192.0.2.11"), 40000, Stage.pack("203.0.113.25"), 587, "sim1", "mail")


def test_record_flow_survives_json_and_names_itself() -> None:
    """Addresses as people write them, IPv6 in brackets."""
    assert FlowEnds.from_json(ENDS.as_json()) == ENDS
    assert str(ENDS) == "192.0.2.11:40000 to 203.0.113.25:587"
    six = FlowEnds(Stage.pack("2001:db8:1::11"), 1, Stage.pack("2001:db8:3::25"), 2)
    assert str(six) == "[2001:db8:1::11]:1 to [2001:db8:3::25]:2"


def test_record_flow_holds_its_packets_both_ways_only() -> None:
    """Client to server and back, and not the same ports between others."""
    stage = Stage(client_port=40000)
    packets = [stage.send("client", "S"), stage.send("server", "SA")]
    assert len(packets) == 2
    assert all(ENDS.holds(captured.packet) for captured in stage.captures["sim1"])
    other = Stage(client="192.0.2.12", client_port=40000)
    other.send("client", "S")
    assert not any(ENDS.holds(captured.packet) for captured in other.captures["sim1"])


def test_record_first_world_is_the_scenario_and_the_rest_are_controls() -> None:
    """Checks of all worlds count."""
    run = record(Path("runs/x"))
    assert [world.is_control for world in run.worlds] == [False, True]
    assert run.passed


def test_record_one_failed_check_of_a_control_fails_the_run() -> None:
    """A control that fails is as bad as the scenario."""
    run = record(Path("runs/x"))
    run.worlds[1].plays[1].checks = [*record(Path("runs/x"), expected="delivered").worlds[0].plays[0].checks]
    assert (run.valid, run.passed, run.exit_status) == (True, False, 1)


def test_record_without_worlds_has_no_problems() -> None:
    """An empty record is no invalid run."""
    run = Record("s", "p", "id", Path("x"), 1, [World("scenario", "", Path("c"), with_box=False)])
    assert run.exit_status == 0
