"""What is missing, each with the command that brings it; what only some scenarios need is not fatal."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from lab.errors import LabError
from scenarios import doctor
from scenarios.cli import app


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> list[LabError]:
    """A machine on which `probe` finds what the test puts into this list, and only tshark is installed."""
    problems: list[LabError] = []
    monkeypatch.setattr(doctor, "probe", lambda: problems)
    monkeypatch.setattr(
        doctor.shutil, "which", lambda name, path: "/usr/bin/tshark" if name == "tshark" else None
    )
    return problems


def test_doctor_needed_things_come_first_with_their_fix(machine: list[LabError]) -> None:
    """Whatever `probe` found is needed; missing servers are not."""
    machine.append(LabError("expected the program ip, got none", "sudo apt-get install iproute2"))
    found = doctor.examine()
    assert (found[0].needed, found[0].fix) == (True, "sudo apt-get install iproute2")
    assert all(not ailment.needed for ailment in found[1:])
    assert not any("tshark" in ailment.message for ailment in found)


def test_doctor_exit_status_is_3_only_if_something_needed_is_missing(machine: list[LabError]) -> None:
    """A machine without Postfix is ready; one without namespaces is not."""
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 0
    assert "optional: no postfix; make setup-servers, or: sudo apt-get install" in done.output
    assert done.output.endswith("ready\n")
    machine.append(LabError("expected namespaces, got 'EPERM'", "run as root with sudo"))
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 3
    assert done.output.startswith("missing: expected namespaces, got 'EPERM'; run as root with sudo\n")
    assert done.output.endswith("not ready\n")


def test_doctor_json_says_the_same(machine: list[LabError]) -> None:
    """For programs: ready or not, and what is missing."""
    machine.append(LabError("m", "f"))
    data = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).output)
    assert data["ready"] is False
    assert data["missing"][0] == {"message": "m", "fix": "f", "needed": True}
