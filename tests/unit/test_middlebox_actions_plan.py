"""The actions of one rule, taken together."""

from __future__ import annotations

from random import Random

from middlebox.actions import plan
from middlebox.actions.plan import Plan
from middlebox.forge import Forger
from middlebox.look import Constant, Look, Quantiles
from middlebox.profile import Delay, Drop, DropScope, Log, Mark, Reset, Rewrite, Throttle, Towards
from tests.unit.test_middlebox_forge import TO_CLIENT, TO_SERVER, occasion


def test_plan_of_nothing_is_empty() -> None:
    """What only writes down, remembers or rewrites forges nothing and drops nothing."""
    assert plan((Log(), Mark("x"), Rewrite(strip=True)), Forger(Random(1)), occasion()) == Plan()


def test_plan_collects_what_all_actions_want() -> None:
    """A rule may reset, drop, delay and throttle at once; waits add up."""
    throttle = Throttle(Constant(1000), 500)
    waits = (Delay(300), Delay(Quantiles(((0.0, 50), (1.0, 50)))))
    actions = (Reset(Towards.BOTH, Look(count=2)), Drop(DropScope.FLOW), *waits, throttle)
    whole = plan(actions, Forger(Random(1)), occasion())
    assert [direction for direction, _ in whole.forged] == [TO_CLIENT, TO_CLIENT, TO_SERVER, TO_SERVER]
    assert (whole.drop, whole.block, whole.hold_ns, whole.throttle) == (
        True,
        {TO_SERVER, TO_CLIENT},
        350,
        throttle,
    )
