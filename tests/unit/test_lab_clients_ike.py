"""What became of strongSwan's key exchange, from what swanctl printed."""

from __future__ import annotations

import pytest

from lab.clients.base import Outcome
from lab.clients.ike import classify
from tests.unit.client_kit import finished, keeps_to_the_evidence


@pytest.mark.parametrize(
    ("status", "printed", "outcome"),
    [
        (0, "[IKE] IKE_SA lab[1] established\ninitiate completed successfully", Outcome.CONNECTED),
        (1, "[IKE] no trusted ECDSA public key found for 'vpn.example'", Outcome.TLS_ERROR),
        (1, "[CFG] constraint check failed: identity 'vpn.example' required", Outcome.TLS_ERROR),
        (1, "[IKE] received AUTHENTICATION_FAILED notify error\ninitiate failed", Outcome.AUTH_ERROR),
        (None, "[NET] sending packet: from 192.0.2.11[500] to 203.0.113.25[500] (464 bytes)", Outcome.TIMEOUT),
        (1, "[IKE] giving up after 5 retransmits\ninitiate failed", Outcome.TIMEOUT),
    ],
)  # fmt: skip
def test_ike_outcome_is_what_it_printed(status: int | None, printed: str, outcome: Outcome) -> None:
    """Both ends proved, distrust of either, silence."""
    assert classify(finished(status, stdout=printed)) is outcome


def test_ike_classifier_keeps_to_the_evidence() -> None:
    """The time limit is a timeout, and what nobody knows has failed."""
    assert keeps_to_the_evidence(classify)
