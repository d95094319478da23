"""Choices of the command line: what a scenario offers, and nothing else."""

from __future__ import annotations

import pytest

from scenarios.choices import restrict
from scenarios.errors import ArgumentError
from scenarios.load import load_scenario


def test_choices_nothing_chosen_changes_nothing() -> None:
    """The scenario as it is."""
    scenario = load_scenario("starttls-block")
    assert restrict(scenario) == scenario


def test_choices_family_mail_and_seed_are_put_in() -> None:
    """Every mail server becomes the chosen one, other services stay."""
    scenario = restrict(load_scenario("any-destination"), family=6, mail="postfix", seed=99)
    assert (scenario.families, scenario.seed) == ((6,), 99)
    assert dict(scenario.services) == {"mail": "postfix", "provider": "postfix"}
    assert dict(restrict(load_scenario("unaffected"), mail="postfix").services)["web"] == "nginx"


def test_choices_ip_version_that_is_not_offered_is_an_error() -> None:
    """The message says what is offered."""
    scenario = restrict(load_scenario("starttls-block"), family=4)
    with pytest.raises(
        ArgumentError, match="expected an IP version of starttls-block, got 6; it is played over IPv4"
    ):
        restrict(scenario, family=6)
