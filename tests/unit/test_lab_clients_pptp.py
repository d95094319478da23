"""What became of pptp's call, from what came back and what it complained of."""

from __future__ import annotations

import pytest

from lab.clients.base import Outcome
from lab.clients.pptp import classify
from tests.unit.client_kit import finished, keeps_to_the_evidence


@pytest.mark.parametrize(
    ("status", "came", "complaint", "outcome"),
    [
        (0, "frame came back: 7eff7d23", "", Outcome.CONNECTED),
        (None, "", "", Outcome.TIMEOUT),
        (1, "", "anon fatal[open_inetsock:pptp_callmgr.c:329]: connect: Connection refused", Outcome.REFUSED),
        (1, "", "anon fatal[get_ip_address:pptp.c:472]: getaddrinfo(): Name or service not known", Outcome.NAME_ERROR),
        (1, "", "anon fatal[get_call_id:pptp.c:562]: Sorry, couldn't get the call id", Outcome.FAILED),
    ],
)  # fmt: skip
def test_pptp_outcome_is_what_came_back(
    status: int | None, came: str, complaint: str, outcome: Outcome
) -> None:
    """A frame, silence, a closed port, an unknown name, a call that was not taken."""
    assert classify(finished(status, stdout=came, stderr=complaint)) is outcome


def test_pptp_reset_is_told_by_the_kernel() -> None:
    """The program itself goes on as if nothing had happened."""
    assert classify(finished(None, resets=1)) is Outcome.CONNECTION_RESET


def test_pptp_classifier_keeps_to_the_evidence() -> None:
    """The time limit is a timeout, and what nobody knows has failed."""
    assert keeps_to_the_evidence(classify)
