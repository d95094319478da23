"""Steps, and what they may refer to."""

from __future__ import annotations

from pathlib import Path

import pytest

from middlebox.yamlsource import ScenarioError
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


@pytest.mark.parametrize(
    ("client", "ask"), [("probe-packets", "packets: [{flags: S}]"), ("probe-udp", "port: 53, send: x")]
)
def test_scenario_probe_that_needs_no_answer_may_go_from_a_server_to_a_subscriber(
    client: str, ask: str, tmp_path: Path
) -> None:
    """Raw packets and datagrams."""
    loaded = scenario(
        tmp_path,
        f"""
scenario: from-outside
purpose: somebody outside begins
middlebox: none
services: {{web: nginx}}
steps:
  - {{on: web, client: {client}, to: sim1.example, as: begin, {ask}}}
expect:
  - {{step: begin, outcome: sent}}
""",
    )
    [step] = loaded.steps
    assert isinstance(step, Step)
    assert (step.on, step.to) == ("web", "sim1.example")


def test_scenario_client_that_needs_an_answer_may_not(tmp_path: Path) -> None:
    """Nobody listens at a subscriber's."""
    with pytest.raises(ScenarioError, match="sim1"):
        scenario(
            tmp_path,
            """
scenario: from-outside
purpose: somebody outside begins
middlebox: none
services: {web: nginx}
steps:
  - {on: web, client: curl-http, to: sim1.example, as: begin}
expect:
  - {step: begin, outcome: success}
""",
        )
