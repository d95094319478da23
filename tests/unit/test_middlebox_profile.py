"""The model of a profile: frozen, and each profile of a deployment once."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest

from middlebox.profile import IN_PATH_ONLY, Deployment, Drop, Phase, Rewrite, Subscriber, TcpReading, Throttle
from tests.unit.talk import profile, rule


def test_deployment_names_every_profile_once() -> None:
    """Whoever uses it, whenever; phases without a profile do not count."""
    first, second = profile(rule("tcp")), profile(rule("udp"))
    subscribers = (
        Subscriber("a", (), (Phase(0, first), Phase(5, None))),
        Subscriber("b", (), (Phase(0, second),)),
    )
    assert Deployment("d", (Phase(0, None), Phase(1, first)), subscribers).profiles() == (first, second)


def test_rules_are_compared_by_what_they_are() -> None:
    """Two rules that say the same are two rules: their sentences and dice are apart."""
    assert rule("tcp") != rule("tcp")


def test_profiles_cannot_be_changed_while_a_box_runs() -> None:
    """State lives elsewhere."""
    with pytest.raises(FrozenInstanceError):
        profile(rule("tcp")).name = "other"  # type: ignore[misc]


def test_what_a_tap_cannot_do_is_listed() -> None:
    """Stopping, changing and slowing down need a place in the path."""
    assert {Drop, Rewrite, Throttle} <= set(IN_PATH_ONLY)


def test_every_tcp_knob_has_its_default() -> None:
    """A profile without `tcp:` is complete."""
    assert all(getattr(TcpReading(), knob.name) is not None for knob in fields(TcpReading))
