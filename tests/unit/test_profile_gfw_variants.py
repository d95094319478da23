"""The profiles beside the Great Firewall's scenarios say what the shipped ones say, but for what they are there for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from middlebox.load import load_profile

ROOT = Path(__file__).parents[2]
NAMES = {"profile", "title"}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each value of a file and where it stands: `rules.0.probability`."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, below in pairs:
            yield from leaves(below, f"{path}.{key}".lstrip("."))
    else:
        yield path, value


def read(path: Path) -> dict[str, Any]:
    return dict(leaves(YAML(typ="safe").load(path.read_text())))


@pytest.mark.parametrize(
    ("variant", "shipped", "differences"),
    [
        ("gfw-esni/third-place", "gfw-esni", {"rules.1.residual.for"}),
        ("gfw-fet/two-minutes", "gfw-fet", {"rules.0.residual.for"}),
        (
            "gfw-fet-load/small-table",
            "gfw-fet",
            {
                "rules.0.probability",
                "rules.0.probability.value",
                "rules.0.probability.source",
                "rules.0.residual.capacity.value",
            },
        ),
        ("gfw-quic-hours/night", "gfw-quic", {"rules.0.probability"}),
        ("gfw-quic-hours/day", "gfw-quic", {"rules.0.probability"}),
    ],
)
def test_variant_is_the_shipped_profile_but_for_named_values(
    variant: str, shipped: str, differences: set[str]
) -> None:
    """Whoever changes the one has to change the other."""
    ours = read(ROOT / "scenarios" / f"{variant}.yaml")
    theirs = read(ROOT / "middlebox" / "profiles" / f"{shipped}.yaml")
    differing = {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}
    assert differing == differences | NAMES


def test_variants_load() -> None:
    """A file beside a scenario is a profile of its own name, so that events say which of the two acted."""
    names = [
        load_profile(ROOT / "scenarios" / f"{path}.yaml").name
        for path in (
            "gfw-esni/third-place",
            "gfw-fet/two-minutes",
            "gfw-quic-hours/night",
            "gfw-quic-hours/day",
        )
    ]
    assert len({*names, "gfw-esni", "gfw-fet", "gfw-quic"}) == len(names) + 3
