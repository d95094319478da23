"""Expectations and their counts."""

from __future__ import annotations

from pathlib import Path

from scenarios.model import (
    SUCCESS,
    Count,
    ExpectCapture,
    ExpectDelivered,
    ExpectEvents,
    ExpectNeverCrosses,
    ExpectOutcome,
)
from tests.unit.yaml_files import EVERYTHING, scenario


def test_scenario_expectations_are_read(tmp_path: Path) -> None:
    """Each kind of expectation, with its counts and what it leaves open."""
    everything = scenario(tmp_path, EVERYTHING)
    assert everything.expect == (
        ExpectOutcome("smtplib-submission", (SUCCESS,)),
        ExpectOutcome("send", ("connection-reset", "timeout")),
        ExpectOutcome("web", ("fetched",)),
        ExpectEvents(
            "packet_forged", Count(0, 2, "<=2"), "reset-both-on-smtps", "both", "tmobile-uk-2012", "send"
        ),
        ExpectEvents("rule_matched", Count(1, None, ">=1")),
        ExpectCapture(
            "sim2", {"forged_rst": Count(0, 0, "0"), "genuine_rst_from_client": Count(1, 3, "1..3")}, "web"
        ),
        ExpectNeverCrosses(("mail",), "server", "send"),
        ExpectNeverCrosses(("auth", "starttls"), "client"),
        ExpectDelivered(Count(1, 1, "1"), "mail"),
    )
