"""The scenarios that are shipped, each read once: half of the tests ask for all of them."""

from __future__ import annotations

from functools import cache

from scenarios.load import load_scenario, scenario_slugs
from scenarios.model import Scenario

SLUGS = scenario_slugs()


@cache
def shipped(slug: str) -> Scenario:
    """A scenario by its name."""
    return load_scenario(slug)
