"""One packet before the rules: what they say adds up to one decision, and all of it is written down."""

from __future__ import annotations

from middlebox.decision import PASS, Forged, Offload, Verdict
from middlebox.flow import Direction, Side
from middlebox.flowtable import Flow
from middlebox.judgement import Judgement
from middlebox.program import Program
from tests.unit.talk import profile, rule
from tests.unit.test_middlebox_forge import FLOW_KEY, segment

RULE, OTHER_RULE = rule("tcp", name="one"), rule("tcp", name="two")


def judgement() -> Judgement:
    return Judgement(segment(), Flow(FLOW_KEY, Side.INSIDE, 0), Program(profile(RULE)), 1000)


def test_judgement_about_nothing_lets_the_packet_pass() -> None:
    """What nobody objects to passes as it is."""
    assert judgement().decision() == PASS


def test_drop_is_written_down_once() -> None:
    """Two rules may want it; the packet is lost once."""
    judged = judgement()
    judged.drop(RULE)
    judged.drop(OTHER_RULE)
    decision = judged.decision()
    assert decision.verdict is Verdict.DROP
    assert [event.details["rule"] for event in decision.events] == ["one"]


def test_forged_packet_is_written_down_with_its_end_and_delay() -> None:
    """`towards` is where it goes, `delay_ns` counts from the trigger."""
    judged = judgement()
    judged.forge(RULE, Direction.SERVER_TO_CLIENT, Forged(b"\x45", 1300))
    (event,) = judged.decision().events
    assert (event.details["towards"], event.details["delay_ns"], event.details["packet"]) == (
        "client",
        300,
        "45",
    )


def test_dropped_packet_is_not_replaced() -> None:
    """What was changed before somebody dropped it does not go on."""
    judged = judgement()
    judged.replacement = b"changed"
    assert judged.decision().replacement == b"changed"
    judged.drop(RULE)
    assert judged.decision().replacement is None


def test_longest_wait_counts() -> None:
    """A second rule cannot make a packet earlier."""
    judged = judgement()
    judged.hold(RULE, 900)
    judged.hold(OTHER_RULE, 500)
    assert judged.decision().hold_until_ns == 900


def test_offload_goes_into_the_decision() -> None:
    """What the kernel may do from now on."""
    judged = judgement()
    judged.offload |= Offload.DROP_CLIENT_TO_SERVER
    assert judged.decision().offload is Offload.DROP_CLIENT_TO_SERVER
