"""What a scenario gives to its box."""

from __future__ import annotations

from pathlib import Path

import pytest

from middlebox.load import load_deployment, load_profile
from scenarios.boxfile import deployment_yaml
from scenarios.load import load_scenario, scenario_slugs


@pytest.mark.parametrize("slug", scenario_slugs())
def test_deployment_yaml_is_what_the_scenario_says(slug: str, tmp_path: Path) -> None:
    """The file written for the box, read by the box's own loader, has the scenario's phases and subscribers."""
    middlebox = load_scenario(slug).middlebox
    assert middlebox is not None
    addresses = {f"sim{i}": (f"192.0.2.{10 + i}", f"2001:db8:1::{10 + i}") for i in range(1, 65)}
    file = tmp_path / "box.yaml"
    file.write_text(deployment_yaml(middlebox, addresses), encoding="utf-8")
    deployment = load_deployment(file)
    assert deployment.name == middlebox.name
    assert [(p.at_ns, p.profile.name if p.profile else None) for p in deployment.timeline] == [
        (p.at_ns, load_profile(p.profile).name if p.profile else None) for p in middlebox.timeline
    ]
    quotas = {s.name: s.quota_bytes for s in deployment.subscribers if s.quota_bytes is not None}
    assert quotas == dict(middlebox.quotas)
    assert {s.name: tuple(str(n.network_address) for n in s.networks) for s in deployment.subscribers} == {
        host: addresses[host] for host in middlebox.subscribers
    }
