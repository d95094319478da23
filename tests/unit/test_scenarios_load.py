"""Scenarios: what is written in YAML is what the model holds; the shipped ones keep the rules of the house."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.clients.registry import CLIENTS
from scenarios.load import SCENARIOS, load_scenario, scenario_slugs
from scenarios.model import (
    ExpectEvents,
    Link,
    Middlebox,
    PlannedPhase,
    Topology,
    steps_of,
)
from tests.unit.yaml_files import EVERYTHING, scenario


def test_scenario_world_is_read(tmp_path: Path) -> None:
    """Topology, links, services, seed and family are as written, times in nanoseconds, rates in bits per second."""
    everything = scenario(tmp_path, EVERYTHING)
    assert (everything.slug, everything.purpose, everything.seed) == ("everything", "each key once", 42)
    assert everything.topology == Topology("isp", 2, 2, 5)
    assert everything.links.access == Link(15_000_000, 20_000_000, 0.001)
    assert everything.links.transit == Link(5_000_000, None, 0.0)
    assert everything.links.server == Link(0, None, 0.5)
    assert everything.services == {"mail": "postfix", "provider": "embedded", "web": "nginx"}
    assert everything.families == (6,)


def test_scenario_box_is_read(tmp_path: Path) -> None:
    """The box's timeline, whom it treats differently, and what becomes of packets when it dies."""
    everything = scenario(tmp_path, EVERYTHING)
    assert everything.middlebox == Middlebox(
        name="everything",
        timeline=(PlannedPhase(0, None), PlannedPhase(2 * 10**9, "tmobile-uk-2012")),
        subscribers={"sim2": (PlannedPhase(0, None),)},
        fail="closed",
    )


def test_scenario_without_box_has_none(tmp_path: Path) -> None:
    """`none` means that no box is started, which is not a box that lets all pass."""
    steps = "steps: [{on: sim1, client: smtplib-submission, as: send}]\nexpect: [{step: send, outcome: delivered}]\n"
    head = "scenario: x\npurpose: y\n"
    assert scenario(tmp_path, f"{head}middlebox: none\n{steps}").middlebox is None
    passes = scenario(tmp_path, f"{head}middlebox: {{profile: none}}\n{steps}").middlebox
    assert passes is not None
    assert passes.timeline == (PlannedPhase(0, None),)


def test_scenarios_of_the_incident_are_all_there() -> None:
    """The seven plays of January 2012."""
    assert set(scenario_slugs()) >= {
        "starttls-block", "starttls-block-at-hello", "smtps-block", "unaffected", "two-sims", "firmware-timeline",
        "any-destination",
    }  # fmt: skip


@pytest.mark.parametrize("slug", scenario_slugs())
def test_shipped_scenario_keeps_the_rules_of_the_house(slug: str) -> None:
    """Its name is its folder's, it has a README and a control without the box; it is played over all IP versions that
    its clients know; the box is seen to act, or at least to look, where there is nothing for it to do."""
    scenario = load_scenario(slug)
    assert scenario.slug == slug
    assert "no-middlebox" in [control.name for control in scenario.controls]
    known = [CLIENTS[step.client].families for step in steps_of(scenario.steps)]
    assert scenario.families == tuple(f for f in (4, 6) if all(f in families for families in known))
    acts = [e for e in scenario.expect if isinstance(e, ExpectEvents) and e.count.low > 0]
    assert acts, "an expectation that the box did something, or saw the connection that it let be"
    readme = (SCENARIOS / slug / "README.md").read_text(encoding="utf-8")
    for section in ("## What happened", "## What to look at", "## Controls", "## What is chosen"):
        assert section in readme


@pytest.mark.parametrize("slug", scenario_slugs())
def test_scenario_is_found_by_name_folder_and_file(slug: str) -> None:
    """All three ways to name a shipped scenario give the same."""
    by_name = load_scenario(slug)
    assert load_scenario(SCENARIOS / slug).slug == by_name.slug
    assert load_scenario(SCENARIOS / slug / "scenario.yaml").slug == by_name.slug
