"""One file per action. Each computes a `Plan` for one trigger; nobody here sends or drops anything."""

from __future__ import annotations

from middlebox.actions.drop import plan_drop
from middlebox.actions.plan import Plan
from middlebox.actions.reset import plan_reset
from middlebox.forge import Forger, Occasion
from middlebox.profile import Action, Drop, Log, Placement, Reset

__all__ = ["Plan", "plan", "passes"]


def plan(actions: tuple[Action, ...], forger: Forger, occasion: Occasion) -> Plan:
    """What a rule's actions come to, taken together, in the order in which they are written."""
    whole = Plan()
    for action in actions:
        match action:
            case Reset():
                whole.forged.extend(plan_reset(action, forger, occasion))
            case Drop():
                plan_drop(action, occasion, whole)
            case Log():
                pass  # that the rule matched is written down for every rule
    return whole


def passes(actions: tuple[Action, ...], placement: Placement) -> bool:
    """Whether the trigger goes on to its receiver. On-path it always does."""
    return placement is Placement.ON_PATH or not any(isinstance(action, Drop) for action in actions)
