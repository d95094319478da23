"""Controls: the same play with one thing changed."""

from __future__ import annotations

from pathlib import Path

from scenarios.load import load_scenario
from scenarios.model import (
    SUCCESS,
    Control,
    Count,
    ExpectEvents,
    ExpectOutcome,
    Middlebox,
    PlannedPhase,
    Step,
    Wait,
    steps_of,
)
from tests.unit.yaml_files import EVERYTHING, scenario


def controls_of(slug: str) -> dict[str, Control]:
    return {control.name: control for control in load_scenario(slug).controls}


def test_control_no_middlebox_wants_every_step_to_succeed() -> None:
    """Without the box the same steps run, without waiting for events that nobody writes."""
    control = controls_of("firmware-timeline")["no-middlebox"]
    assert control.middlebox is None
    assert not any(isinstance(item, Wait) for item in control.steps)
    steps = [step.name for step in steps_of(control.steps)]
    assert control.expect == tuple(ExpectOutcome(step, (SUCCESS,)) for step in steps)
    assert steps == [step.name for step in steps_of(load_scenario("firmware-timeline").steps)]


def test_control_other_port_moves_submission_to_port_25() -> None:
    """The same client through the same box on a port that it leaves alone; nothing may be forged."""
    whole = load_scenario("starttls-block")
    control = controls_of("starttls-block")["other-port"]
    assert control.middlebox == whole.middlebox
    assert control.steps == (Step("send", "sim1", "smtplib-submission", port=25, login=False),)
    assert control.expect == (
        ExpectOutcome("send", (SUCCESS,)),
        ExpectEvents("packet_forged", Count(0, 0, "0")),
    )


def test_control_explicit_changes_what_it_names(tmp_path: Path) -> None:
    """Changes for all steps, then for one; a box and expectations of its own, checked against its own profile."""
    text = (
        EVERYTHING
        + """
controls:
  - name: elsewhere
    why: because
    client: curl-submission
    steps: {web: {client: curl-https, on: sim1}}
    middlebox: {profile: watch-sni}
    expect:
      - {step: smtplib-submission, outcome: success}
      - {step: send, outcome: success}
      - {step: web, outcome: success}
      - {events: packet_forged, rule: reset-both-on-blocked-sni, count: 0}
"""
    )
    [control] = scenario(tmp_path, text).controls
    assert (control.name, control.why) == ("elsewhere", "because")
    assert control.middlebox == Middlebox("watch-sni", (PlannedPhase(0, "watch-sni"),))
    assert [(step.name, step.client, step.on) for step in steps_of(control.steps)] == [
        ("smtplib-submission", "curl-submission", "sim1"),
        ("send", "curl-submission", "sim1"),
        ("web", "curl-https", "sim1"),
    ]
    assert control.expect[-1] == ExpectEvents("packet_forged", Count(0, 0, "0"), "reset-both-on-blocked-sni")
