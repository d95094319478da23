"""One file per kind of action. Each computes for one trigger; nobody here sends, drops or remembers anything."""

from __future__ import annotations

from middlebox.actions.datagrams import plan_dns, plan_icmp
from middlebox.actions.drop import plan_drop
from middlebox.actions.plan import Plan
from middlebox.actions.segments import plan_segments
from middlebox.forge import Forger, Occasion
from middlebox.profile import (
    Action,
    Delay,
    Dns,
    Drop,
    Icmp,
    Log,
    Mark,
    Placement,
    Redirect,
    Reset,
    Rewrite,
    Throttle,
    Unmark,
)

__all__ = ["Plan", "plan", "passes"]


def plan(actions: tuple[Action, ...], forger: Forger, occasion: Occasion) -> Plan:
    """What a rule's actions come to, taken together, in the order in which they are written."""
    whole = Plan()
    for action in actions:
        match action:
            case Reset():  # Close and Reply too
                whole.forged.extend(plan_segments(action, forger, occasion))
            case Drop():
                plan_drop(action, occasion, whole)
            case Delay():
                whole.hold_ns += forger.delay_ns(action.duration)
            case Throttle():
                whole.throttle = action
            case Dns():
                whole.forged.extend(plan_dns(action, forger, occasion))
            case Icmp():
                whole.forged.extend(plan_icmp(action, forger, occasion))
            case Log() | Mark() | Unmark() | Rewrite() | Redirect():
                pass  # written down, remembered, changed by `enforcement`; redirected by the kernel's NAT
    return whole


def passes(actions: tuple[Action, ...], placement: Placement) -> bool:
    """Whether the trigger goes on to its receiver. On-path it always does."""
    return placement is Placement.ON_PATH or not any(isinstance(action, Drop) for action in actions)
