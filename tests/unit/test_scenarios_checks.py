"""Expectations pass when the packets say so and fail with the packets that contradict them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from middlebox.packet import SYN
from scenarios.checks import View, check, check_ground_truth, check_two_ended, own_checks, problems_of
from scenarios.detectors.two_ended import find_unsent_resets
from scenarios.explanation import explain
from scenarios.journeys import collect
from scenarios.model import (
    Count,
    Expectation,
    ExpectCapture,
    ExpectDelivered,
    ExpectEvents,
    ExpectNeverCrosses,
    ExpectOutcome,
    Step,
)
from scenarios.record import MAIN, CheckResult, Play, StepRun, World
from tests.unit.staged import BEGIN_NS, Stage, starttls_block

AT_LEAST_ONE = Count(1, None, ">=1")
NONE = Count(0, 0, "0")


def view_of(stage: Stage, *, outcome: str = "connection-reset", name: str = MAIN) -> View:
    """A world with one step that made the stage's flow."""
    captures = stage.sorted()
    ends = stage.ends
    run = StepRun(
        step=Step("send", "sim1", "smtplib-submission"), outcome=outcome, succeeded=outcome == "delivered",
        exit_status=1, seconds=0.3, started_ns=BEGIN_NS, ended_ns=BEGIN_NS + 10**9, output="", command="", version="",
        client=ends.client, server=ends.server, server_host="mail", port=587, flows=[ends],
    )  # fmt: skip
    family = 4 if len(ends.client) == 4 else 6
    world = World(name, "", Path("captures"), with_box=True, plays=[Play(family, [run])], events=stage.events)
    world.journeys = collect(captures, stage.world)
    world.disagreements = explain(world.journeys, world.events)
    world.findings = find_unsent_resets(captures["sim1"], captures["mail"])
    return View(world.plays[0], world, captures)


def result(expectation: Expectation, stage: Stage | None = None, **options: Any) -> CheckResult:
    return check(expectation, view_of(stage or starttls_block(), **options))


@pytest.mark.parametrize(
    "expectation",
    [
        ExpectOutcome("send", ("connection-reset",)),
        ExpectOutcome("send", ("timeout", "connection-reset")),
        ExpectEvents("packet_forged", AT_LEAST_ONE, rule="reset-both", towards="both"),
        ExpectEvents("packet_forged", Count(1, 1, "1"), towards="client", step="send"),
        ExpectEvents("rule_matched", Count(1, 1, "1"), profile="tmobile-uk-2012"),
        ExpectCapture("client", {"forged_rst": AT_LEAST_ONE, "genuine_rst_from_server": NONE}),
        ExpectCapture("server", {"forged_rst": AT_LEAST_ONE, "genuine_rst_from_client": NONE}, step="send"),
        ExpectNeverCrosses(("auth", "mail", "application-data"), "server"),
        ExpectDelivered(NONE),
    ],
)
def test_checks_incident_meets_its_expectations(expectation: Expectation) -> None:
    """Every kind of expectation passes on the incident as it was, without evidence."""
    found = result(expectation)
    assert found.passed, found
    assert found.evidence == ()


@pytest.mark.parametrize(
    ("expectation", "seen"),
    [
        (ExpectOutcome("send", ("delivered",)), "connection-reset"),
        (ExpectOutcome("send", ("success",)), "connection-reset"),
        (ExpectOutcome("other", ("delivered",)), "the step never ran"),
        (ExpectEvents("packet_forged", NONE, towards="both"), "1 towards the client, 1 towards the server"),
        (ExpectEvents("packet_forged", AT_LEAST_ONE, rule="another-rule"), "0"),
        (ExpectEvents("packet_forged", AT_LEAST_ONE, profile="another"), "0"),
        (ExpectCapture("client", {"forged_rst": NONE}), "forged_rst 1"),
        (ExpectNeverCrosses(("starttls",), "server"), "starttls in frame 8"),
        (ExpectDelivered(AT_LEAST_ONE), "0"),
    ],
)
def test_checks_failed_expectation_says_what_was_seen(expectation: Expectation, seen: str) -> None:
    """A failure names what was there instead."""
    found = result(expectation)
    assert not found.passed
    assert found.seen == seen


def test_checks_failed_expectation_shows_the_packets_that_contradict_it() -> None:
    """RSTs for a count of RSTs, the offending packet for what must never cross, the whole flow for an outcome."""
    (resets,) = result(ExpectCapture("client", {"forged_rst": NONE})).evidence
    assert [journey.packet.flags & 4 for journey in resets.journeys] == [4, 4]
    (crossing,) = result(ExpectNeverCrosses(("starttls",), "server")).evidence
    assert [journey.packet.payload for journey in crossing.journeys] == [b"STARTTLS\r\n"]
    (whole,) = result(ExpectOutcome("send", ("delivered",))).evidence
    assert (whole.flow.client_port, whole.journeys) == (45678, ())


def test_checks_success_stands_for_what_the_client_calls_so() -> None:
    """`outcome: success` is met by any success, and a clear-text delivery is none."""
    assert result(ExpectOutcome("send", ("success",)), outcome="delivered").passed
    assert not result(ExpectOutcome("send", ("success",)), outcome="clear-text").passed


def test_checks_reset_sent_after_a_forged_one_is_not_of_its_own_accord() -> None:
    """A kernel's answer to late data does not make the client the one who ended the connection; an early RST does."""
    expectation = ExpectCapture("server", {"genuine_rst_from_client": NONE})
    late = starttls_block()
    late.time_ms += 100
    late.send("client", "R")
    assert result(expectation, late).passed
    early = starttls_block()
    early.time_ms = 5
    early.send("client", "R")
    assert result(expectation, early).seen == "genuine_rst_from_client 1"


def test_checks_without_any_connection_what_never_crosses_is_not_proved() -> None:
    """No packets at all is no proof that no password crossed."""
    view = view_of(starttls_block())
    view.play.steps[0].flows = []
    found = check(ExpectNeverCrosses(("auth",), "server"), view)
    assert (found.passed, found.seen) == (False, "no connection was seen at all")


def test_checks_events_of_the_other_ip_version_do_not_count() -> None:
    """Two plays side by side do not answer for each other."""
    view = view_of(starttls_block())
    view.play.family = 6
    assert check(ExpectEvents("packet_forged", AT_LEAST_ONE), view).seen == "0"


def test_checks_mails_are_counted_by_server() -> None:
    """`at:` counts one server's mails."""
    view = view_of(starttls_block())
    view.play.delivered = ["mail", "provider", "mail"]
    assert check(ExpectDelivered(Count(3, 3, "3")), view).passed
    assert check(ExpectDelivered(Count(2, 2, "2"), at="mail"), view).passed


def test_checks_ground_truth_equals_wire_both_ways() -> None:
    """An honest box passes; one event less, or one packet less, fails with the packet shown."""
    assert check_ground_truth(view_of(starttls_block()).world).passed
    silent = starttls_block()
    silent.events.pop()
    found = check_ground_truth(view_of(silent).world)
    assert not found.passed
    assert "in no event" in found.seen
    assert found.evidence[0].journeys[0].packet.flags & 4


def test_checks_two_ended_findings_equal_ground_truth_both_ways() -> None:
    """What the detector misses fails, and so does what it invents."""
    world = view_of(starttls_block()).world
    assert check_two_ended(world).passed
    world.findings = list(world.findings)[:1]
    assert "missed R towards server" in check_two_ended(world).seen
    silent = starttls_block()
    silent.events = []
    assert "wrongly blamed R towards client" in check_two_ended(view_of(silent).world).seen


def test_checks_reset_of_an_end_whose_numbers_were_moved_may_be_found() -> None:
    """As it arrived, nobody has sent it; nothing else is excused by that."""
    silent = starttls_block()
    silent.events = []
    world = view_of(silent).world
    towards_client, towards_server = (j for j in world.journeys if j.packet.flags & 4)
    towards_client.leaves_as = towards_client.packet
    seen = check_two_ended(world).seen
    assert seen.endswith("wrongly blamed R towards server seq " + str(towards_server.packet.seq) + " (x1)")
    towards_server.leaves_as = towards_server.packet
    assert check_two_ended(world).passed


def test_checks_forged_reset_that_got_lost_need_not_be_found() -> None:
    """The detector can only find what arrived; whether it had to arrive is for the ground truth to say."""
    stage = starttls_block()
    stage.captures["sim1"] = [c for c in stage.captures["sim1"] if not c.packet.flags & 4]
    found = check_two_ended(view_of(stage).world)
    assert (found.passed, found.seen) == (True, "1 found, 1 forged")


def test_checks_connection_left_over_from_a_world_before_is_judged_on_neither_side() -> None:
    """What is forged in it is not missed, what its ends sent earlier is not blamed; one that began here is judged."""
    stage = starttls_block()
    world = view_of(stage).world
    findings = list(world.findings)
    world.earlier = {finding.community_id for finding in findings}
    own_checks(world, findings)
    assert check_two_ended(world).seen == "2 found, 2 forged"
    world.journeys = [journey for journey in world.journeys if not journey.packet.flags & SYN]
    assert [check.passed for check in own_checks(world, findings)] == [True, True]
    assert check_two_ended(world).seen == "0 found, 0 forged"


ENDED = {"event": "run_ended", "valid": True}


@pytest.mark.parametrize(
    ("event", "problem"),
    [
        ({"event": "engine_error", "error": "KeyError: 3"}, "the box's engine failed: KeyError: 3"),
        (
            {"event": "queue_overflow", "dropped": 2, "user_dropped": 1},
            "the box's queue overflowed: 3 packets",
        ),
        ({"event": "run_ended", "valid": False}, "the box itself says that its run is invalid"),
    ],
)
def test_checks_failed_box_makes_the_run_invalid(event: dict[str, Any], problem: str) -> None:
    """A box that failed proves nothing, whatever the clients said."""
    world = view_of(starttls_block()).world
    world.events = [*world.events, ENDED, event]
    (found,) = problems_of(world, box_status=4, must_act=True)
    assert found.startswith(problem)


def test_checks_error_at_every_packet_is_one_problem() -> None:
    """The same bug twenty times over is said once, with its number; the last overflow counts all of them."""
    world = view_of(starttls_block()).world
    error = {"event": "engine_error", "error": "KeyError: 3"}
    overflows = [{"event": "queue_overflow", "dropped": n, "user_dropped": 0} for n in (2, 5)]
    world.events = [*world.events, *[error] * 20, *overflows, ENDED | {"valid": False}]
    found = problems_of(world, box_status=4, must_act=True)
    assert found == [
        "the box's engine failed 20 times: KeyError: 3",
        "the box's queue overflowed: 5 packets passed or vanished unseen",
    ]


def test_checks_killed_box_makes_the_run_invalid() -> None:
    """A box that was killed has no last word and no good status."""
    found = problems_of(view_of(starttls_block()).world, box_status=-9, must_act=True)
    assert found == ["the box ended without a last word", "expected the box to end with status 0, got -9"]


def test_checks_box_that_never_acted_proves_nothing() -> None:
    """Without a sign of the box, `delivered` is not `not censored`; a control may be quiet."""
    view = view_of(starttls_block())
    view.world.events = [ENDED]
    (found,) = problems_of(view.world, box_status=0, must_act=True)
    assert "never seen to act over IPv4" in found
    assert problems_of(view.world, box_status=0, must_act=False) == []


def test_checks_world_without_a_box_needs_no_box() -> None:
    """The control without a middlebox is valid by itself."""
    world = World("no-middlebox", "", Path("captures"), with_box=False)
    assert problems_of(world, box_status=None, must_act=False) == []
