"""`drop`: the trigger, its direction or the whole connection does not get through (in-path only)."""

from __future__ import annotations

from middlebox.actions.plan import Plan
from middlebox.flow import Direction
from middlebox.forge import Occasion
from middlebox.profile import Drop, DropScope


def plan_drop(action: Drop, occasion: Occasion, plan: Plan) -> None:
    """Mark in `plan` what may not pass."""
    plan.drop = True
    if action.scope is DropScope.DIRECTION:
        plan.block.add(occasion.direction)
    elif action.scope is DropScope.FLOW:
        plan.block.update(Direction)
