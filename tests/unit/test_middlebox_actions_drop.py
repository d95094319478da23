"""`drop`: the trigger, its direction, or the whole connection."""

from __future__ import annotations

import pytest

from middlebox.actions import passes
from middlebox.actions.drop import plan_drop
from middlebox.actions.plan import Plan
from middlebox.flow import Direction
from middlebox.look import Look
from middlebox.profile import Drop, DropScope, Log, Placement, Reset, Towards
from tests.unit.test_middlebox_forge import TO_CLIENT, TO_SERVER, occasion, segment


@pytest.mark.parametrize(
    ("scope", "blocked"),
    [
        (DropScope.PACKET, set()),
        (DropScope.DIRECTION, {TO_CLIENT}),
        (DropScope.FLOW, {TO_SERVER, TO_CLIENT}),
    ],
)
def test_drop_scope_says_what_is_blocked_from_now_on(scope: DropScope, blocked: set[Direction]) -> None:
    """The direction is that of the trigger, here the server's."""
    plan = Plan()
    plan_drop(Drop(scope), occasion(segment(TO_CLIENT)), plan)
    assert (plan.drop, plan.block) == (True, blocked)


def test_trigger_passes_unless_an_in_path_box_drops_it() -> None:
    """A tap cannot stop anything."""
    dropping, harmless = (Reset(Towards.BOTH, Look()), Drop()), (Log(),)
    assert passes(dropping, Placement.ON_PATH)
    assert not passes(dropping, Placement.IN_PATH)
    assert passes(harmless, Placement.IN_PATH)
