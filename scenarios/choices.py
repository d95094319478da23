"""Choices of the command line put into a scenario: IP version, mail server, seed, time scale."""

from __future__ import annotations

from dataclasses import replace

from scenarios.errors import ArgumentError
from scenarios.model import Item, Middlebox, Scenario, Wait


def restrict(
    scenario: Scenario,
    *,
    family: int | None = None,
    mail: str | None = None,
    seed: int | None = None,
    time_scale: float | None = None,
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
    if time_scale is not None:
        if not 0.0001 <= time_scale <= 1:
            raise ArgumentError(
                f"expected a time scale from 0.0001 to 1, got {time_scale}; 1 is the real time"
            )
        scenario = _rescaled(scenario, time_scale)
    return scenario if seed is None else replace(scenario, seed=seed)


def _rescaled(scenario: Scenario, time_scale: float) -> Scenario:
    """Another clock for every box, and patience to match."""
    factor = max(1.0, time_scale / scenario.time_scale)

    def box(middlebox: Middlebox | None) -> Middlebox | None:
        return None if middlebox is None else replace(middlebox, time_scale=time_scale)

    def patient(items: tuple[Item, ...]) -> tuple[Item, ...]:
        return tuple(
            replace(item, timeout_ns=round(item.timeout_ns * factor)) if isinstance(item, Wait) else item
            for item in items
        )

    controls = tuple(
        replace(control, middlebox=box(control.middlebox), steps=patient(control.steps))
        for control in scenario.controls
    )
    return replace(
        scenario, middlebox=box(scenario.middlebox), steps=patient(scenario.steps), controls=controls,
        time_scale=time_scale,
    )  # fmt: skip
