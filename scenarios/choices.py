"""Choices of the command line put into a scenario: IP version, mail server, seed."""

from __future__ import annotations

from dataclasses import replace

from scenarios.errors import ArgumentError
from scenarios.model import Scenario


def restrict(
    scenario: Scenario, *, family: int | None = None, mail: str | None = None, seed: int | None = None
) -> Scenario:
    """The scenario with choices of the command line put in. ArgumentError: a choice that it does not offer."""
    if family is not None:
        if family not in scenario.families:
            offered = ", ".join(f"IPv{one}" for one in scenario.families)
            raise ArgumentError(
                f"expected an IP version of {scenario.slug}, got {family!r}; it is played over {offered}"
            )
        scenario = replace(scenario, families=(family,))
    if mail is not None:
        services = {
            name: mail if name in ("mail", "provider") else program
            for name, program in scenario.services.items()
        }
        scenario = replace(scenario, services=services)
    return scenario if seed is None else replace(scenario, seed=seed)
