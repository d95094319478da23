"""Steps, and what they may refer to."""

from __future__ import annotations

from pathlib import Path

from scenarios.model import (
    Step,
    Together,
    Wait,
)
from tests.unit.yaml_files import EVERYTHING, scenario


def test_scenario_steps_are_read(tmp_path: Path) -> None:
    """Steps in order, waits, steps at the same moment; mail to port 25 goes without a login."""
    everything = scenario(tmp_path, EVERYTHING)
    first, wait, together = everything.steps
    assert first == Step("smtplib-submission", "sim1", "smtplib-submission")
    assert wait == Wait("profile_changed", {"profile": None}, 3 * 10**9)
    assert isinstance(together, Together)
    assert together.steps == (
        Step("send", "sim1", "smtplib-submission", "smtp.provider.example", 25, 4 * 10**9, login=False),
        Step("web", "sim2", "curl-http", "web.example"),
    )
