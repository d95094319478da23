"""Scenarios: what is written in YAML is what the model holds, and the shipped ones keep the house's rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from middlebox.load import load_deployment
from scenarios.boxfile import deployment_yaml
from scenarios.load import SCENARIOS, load_scenario, scenario_slugs
from scenarios.model import (
    SUCCESS,
    Control,
    Count,
    ExpectCapture,
    ExpectDelivered,
    ExpectEvents,
    ExpectNeverCrosses,
    ExpectOutcome,
    Link,
    Middlebox,
    PlannedPhase,
    Scenario,
    Step,
    Together,
    Topology,
    Wait,
    steps_of,
)

ALL = """
scenario: everything
purpose: each key once
topology: {kind: isp, subscribers: 2, hops_before_box: 2, hops_after_box: 5}
links: {access: {delay: 15ms, rate: 20Mbit, loss: 0.1%}, transit: {delay: 5ms}, server: {loss: 0.5}}
middlebox:
  timeline: [{at: 0s, profile: none}, {at: 2s, profile: tmobile-uk-2012}]
  subscribers: {sim2: {profile: none}}
  fail: closed
services: {mail: postfix, provider: embedded, web: nginx}
seed: 42
family: ipv6
steps:
  - {on: sim1, client: smtplib-submission}
  - {wait: {event: profile_changed, profile: none, timeout: 3s}}
  - together:
      - {on: sim1, client: smtplib-submission, as: send, to: smtp.provider.example, port: 25, timeout: 4s}
      - {on: sim2, client: curl-http, as: web, to: web.example}
expect:
  - {step: smtplib-submission, outcome: success}
  - {step: send, outcome: [connection-reset, timeout]}
  - {step: web, outcome: fetched}
  - events: packet_forged
    rule: reset-both-on-smtps
    towards: both
    profile: tmobile-uk-2012
    step: send
    count: "<=2"
  - {events: rule_matched}
  - {capture: sim2, step: web, forged_rst: 0, genuine_rst_from_client: "1..3"}
  - {never_crosses: mail, step: send}
  - {never_crosses: [auth, starttls], capture: client}
  - {delivered: 1, at: mail}
"""


@pytest.fixture
def everything(tmp_path: Path) -> Scenario:
    """A scenario with each key once."""
    return write(tmp_path, ALL)


def write(folder: Path, text: str) -> Scenario:
    file = folder / "scenario.yaml"
    file.write_text(text, encoding="utf-8")
    return load_scenario(file)


def controls_of(slug: str) -> dict[str, Control]:
    return {control.name: control for control in load_scenario(slug).controls}


def test_scenario_world_is_read(everything: Scenario) -> None:
    """Topology, links, services, seed and family are as written, times in nanoseconds, rates in bits per second."""
    assert (everything.slug, everything.purpose, everything.seed) == ("everything", "each key once", 42)
    assert everything.topology == Topology("isp", 2, 2, 5)
    assert everything.links.access == Link(15_000_000, 20_000_000, 0.001)
    assert everything.links.transit == Link(5_000_000, None, 0.0)
    assert everything.links.server == Link(0, None, 0.5)
    assert everything.services == {"mail": "postfix", "provider": "embedded", "web": "nginx"}
    assert everything.families == (6,)


def test_scenario_box_is_read(everything: Scenario) -> None:
    """The box's timeline, whom it treats differently, and what becomes of packets when it dies."""
    assert everything.middlebox == Middlebox(
        name="everything",
        timeline=(PlannedPhase(0, None), PlannedPhase(2 * 10**9, "tmobile-uk-2012")),
        subscribers={"sim2": (PlannedPhase(0, None),)},
        fail="closed",
    )


def test_scenario_steps_are_read(everything: Scenario) -> None:
    """Steps in order, waits, steps at the same moment; mail to port 25 goes without a login."""
    first, wait, together = everything.steps
    assert first == Step("smtplib-submission", "sim1", "smtplib-submission")
    assert wait == Wait("profile_changed", {"profile": None}, 3 * 10**9)
    assert isinstance(together, Together)
    assert together.steps == (
        Step("send", "sim1", "smtplib-submission", "smtp.provider.example", 25, 4 * 10**9, login=False),
        Step("web", "sim2", "curl-http", "web.example"),
    )


def test_scenario_expectations_are_read(everything: Scenario) -> None:
    """Each kind of expectation, with its counts and what it leaves open."""
    assert everything.expect == (
        ExpectOutcome("smtplib-submission", (SUCCESS,)),
        ExpectOutcome("send", ("connection-reset", "timeout")),
        ExpectOutcome("web", ("fetched",)),
        ExpectEvents(
            "packet_forged", Count(0, 2, "<=2"), "reset-both-on-smtps", "both", "tmobile-uk-2012", "send"
        ),
        ExpectEvents("rule_matched", Count(1, None, ">=1")),
        ExpectCapture(
            "sim2", {"forged_rst": Count(0, 0, "0"), "genuine_rst_from_client": Count(1, 3, "1..3")}, "web"
        ),
        ExpectNeverCrosses(("mail",), "server", "send"),
        ExpectNeverCrosses(("auth", "starttls"), "client"),
        ExpectDelivered(Count(1, 1, "1"), "mail"),
    )


@pytest.mark.parametrize(
    ("count", "holds", "fails"),
    [
        (Count(0, 0, "0"), [0], [1]),
        (Count(1, None, ">=1"), [1, 1000], [0]),
        (Count(0, 2, "<=2"), [0, 2], [3]),
        (Count(1, 3, "1..3"), [1, 3], [0, 4]),
    ],
)
def test_count_holds_within_its_ends(count: Count, holds: list[int], fails: list[int]) -> None:
    """Both ends of a count belong to it."""
    assert all(count.holds(n) for n in holds)
    assert not any(count.holds(n) for n in fails)


def test_scenario_without_box_has_none(tmp_path: Path) -> None:
    """`none` means that no box is started, which is not a box that lets all pass."""
    steps = "steps: [{on: sim1, client: smtplib-submission, as: send}]\nexpect: [{step: send, outcome: delivered}]\n"
    head = "scenario: x\npurpose: y\n"
    assert write(tmp_path, f"{head}middlebox: none\n{steps}").middlebox is None
    passes = write(tmp_path, f"{head}middlebox: {{profile: none}}\n{steps}").middlebox
    assert passes is not None
    assert passes.timeline == (PlannedPhase(0, None),)


# --- controls ------------------------------------------------------------------------------------------------------


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
    scenario = load_scenario("starttls-block")
    control = controls_of("starttls-block")["other-port"]
    assert control.middlebox == scenario.middlebox
    assert control.steps == (Step("send", "sim1", "smtplib-submission", port=25, login=False),)
    assert control.expect == (
        ExpectOutcome("send", (SUCCESS,)),
        ExpectEvents("packet_forged", Count(0, 0, "0")),
    )


def test_control_explicit_changes_what_it_names(tmp_path: Path) -> None:
    """Changes for all steps, then for one; a box and expectations of its own, checked against its own profile."""
    text = (
        ALL
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
    [control] = write(tmp_path, text).controls
    assert (control.name, control.why) == ("elsewhere", "because")
    assert control.middlebox == Middlebox("watch-sni", (PlannedPhase(0, "watch-sni"),))
    assert [(step.name, step.client, step.on) for step in steps_of(control.steps)] == [
        ("smtplib-submission", "curl-submission", "sim1"),
        ("send", "curl-submission", "sim1"),
        ("web", "curl-https", "sim1"),
    ]
    assert control.expect[-1] == ExpectEvents("packet_forged", Count(0, 0, "0"), "reset-both-on-blocked-sni")


# --- what the box is given -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("slug", scenario_slugs())
def test_deployment_yaml_is_what_the_scenario_says(slug: str, tmp_path: Path) -> None:
    """The file written for the box, read by the box's own loader, has the scenario's phases and subscribers."""
    middlebox = load_scenario(slug).middlebox
    assert middlebox is not None
    addresses = {f"sim{i}": (f"192.0.2.{10 + i}", f"2001:db8:1::{10 + i}") for i in range(1, 3)}
    file = tmp_path / "box.yaml"
    file.write_text(deployment_yaml(middlebox, addresses), encoding="utf-8")
    deployment = load_deployment(file)
    assert deployment.name == middlebox.name
    assert [(p.at_ns, p.profile.name if p.profile else None) for p in deployment.timeline] == [
        (p.at_ns, p.profile) for p in middlebox.timeline
    ]
    assert {s.name: tuple(str(n.network_address) for n in s.networks) for s in deployment.subscribers} == {
        host: addresses[host] for host in middlebox.subscribers
    }


# --- the shipped ones ----------------------------------------------------------------------------------------------


def test_scenarios_of_the_incident_are_all_there() -> None:
    """The seven plays of January 2012."""
    assert set(scenario_slugs()) >= {
        "starttls-block", "starttls-block-at-hello", "smtps-block", "unaffected", "two-sims", "firmware-timeline",
        "any-destination",
    }  # fmt: skip


@pytest.mark.parametrize("slug", scenario_slugs())
def test_shipped_scenario_keeps_the_rules_of_the_house(slug: str) -> None:
    """Its name is its folder's, it has a README and a control without the box, and the box is seen to act."""
    scenario = load_scenario(slug)
    assert scenario.slug == slug
    assert "no-middlebox" in [control.name for control in scenario.controls]
    assert scenario.families == (4, 6)
    acts = [e for e in scenario.expect if isinstance(e, ExpectEvents) and e.count.low > 0]
    assert acts, "an expectation that the box did something"
    readme = (SCENARIOS / slug / "README.md").read_text(encoding="utf-8")
    for section in ("## What happened", "## What to look at", "## Controls", "## What is chosen"):
        assert section in readme


@pytest.mark.parametrize("slug", scenario_slugs())
def test_scenario_is_found_by_name_folder_and_file(slug: str) -> None:
    """All three ways to name a shipped scenario give the same."""
    by_name = load_scenario(slug)
    assert load_scenario(SCENARIOS / slug).slug == by_name.slug
    assert load_scenario(SCENARIOS / slug / "scenario.yaml").slug == by_name.slug
