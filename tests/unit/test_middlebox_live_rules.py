"""Which rules a connection can still meet, and which direction may therefore go.

That nothing is missed by it is compared in tests/property/test_engine_offload.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from middlebox.decision import Offload
from middlebox.flow import Direction, Side
from middlebox.flowtable import Flow
from middlebox.live_rules import LiveRules, LiveRulesTable, blocked_directions, offload_of_stopped
from middlebox.look import Constant
from middlebox.profile import Drop, DropScope, Rewrite, Rule, Throttle
from middlebox.program import Program
from tests.unit.talk import RESET_BOTH, STARTTLS, profile, rule
from tests.unit.test_middlebox_forge import FLOW_KEY, TO_CLIENT, TO_SERVER, segment

ASKS, ANSWERS = rule("tcp.dstport == 587", name="asks"), rule("tcp.srcport == 587", name="answers")


def live(
    *rules: Rule, direction: Direction = TO_SERVER, table: LiveRulesTable | None = None, **tcp: Any
) -> LiveRules:
    flow = Flow(FLOW_KEY, Side.INSIDE, 0)
    flow.direction, flow.ingress = direction, Side(direction)
    found = (table or LiveRulesTable()).find(segment(direction), flow, Program(profile(*rules, **tcp)))
    assert flow.live is found
    assert (flow.direction, flow.ingress) == (direction, Side(direction))
    return found


@pytest.mark.parametrize("direction", list(Direction))
def test_live_rules_are_found_for_both_directions_from_either(direction: Direction) -> None:
    """One packet tells the ends of both, and is left as it was."""
    assert live(ASKS, ANSWERS, direction=direction).rules == ((ASKS,), (ANSWERS,))


def test_direction_without_live_rule_is_let_go() -> None:
    """And the whole connection when neither has one."""
    assert live(ASKS).answer.offload is Offload.PASS_SERVER_TO_CLIENT
    assert live(ANSWERS).answer.offload is Offload.PASS_CLIENT_TO_SERVER
    assert live(ASKS, ANSWERS).answer.offload is Offload.NONE
    nothing = live(rule("tcp.port == 80"))
    assert nothing.over
    assert nothing.answer.offload is Offload.PASS


@pytest.mark.parametrize("knob", ["handshake", "checks_ack"])
def test_box_that_follows_both_ends_lets_neither_go_alone(knob: str) -> None:
    """The answer tells whether the question counts."""
    assert live(ASKS, **{knob: True}).answer.offload is Offload.NONE


@pytest.mark.parametrize(
    "action",
    [Throttle(Constant(1), 1), Rewrite(strip=True), Drop(DropScope.FLOW)],
    ids=["throttle", "rewrite", "drop"],
)
def test_rule_that_treats_both_directions_keeps_both(action: Any) -> None:
    """What it begins would not reach packets that the kernel passes."""
    assert live(rule("tcp.dstport == 587", (action,))).answer.offload is Offload.NONE


def test_rule_that_counts_keeps_both() -> None:
    """Counters count both directions."""
    assert live(rule("tcp.dstport == 587 and flow.packets > 9")).answer.offload is Offload.NONE


def test_same_rules_are_one_object() -> None:
    """A hundred thousand connections share a handful."""
    table, rules = LiveRulesTable(), (ASKS, rule(STARTTLS, RESET_BOTH))
    assert live(*rules, table=table) is live(*rules, table=table)


def test_stopped_connection_is_never_passed_where_something_was_dropped() -> None:
    """Blocked: the kernel drops. Bytes dropped once: they may come again, so they have to be seen."""
    flow = Flow(FLOW_KEY, Side.INSIDE, 0)
    nothing = live(rule("tcp.port == 80"))
    assert blocked_directions(flow) is Offload.NONE
    flow.halves[TO_SERVER].remember_drop(segment(), ASKS)
    assert offload_of_stopped(flow, nothing) == Offload.PASS_SERVER_TO_CLIENT
    flow.block(ASKS, [TO_CLIENT])
    assert offload_of_stopped(flow, nothing) == Offload.DROP_SERVER_TO_CLIENT
    flow.block(ASKS, Direction)
    assert blocked_directions(flow) == offload_of_stopped(flow, nothing) == Offload.DROP
