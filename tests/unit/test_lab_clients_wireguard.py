"""What became of the WireGuard client, from the report of its child."""

from __future__ import annotations

import pytest

from lab.clients.base import Outcome
from lab.clients.wireguard import classify
from tests.unit.client_kit import finished, keeps_to_the_evidence


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        ('report: ["answered", 40001]\n', Outcome.CONNECTED),
        ('report: ["timeout", 40001]\n', Outcome.TIMEOUT),
        ('report: ["refused", 40001]\n', Outcome.REFUSED),
        ('report: ["unreachable", 40001]\n', Outcome.UNREACHABLE),
        ("", Outcome.FAILED),
    ],
)
def test_wireguard_outcome_is_what_the_child_reports(report: str, outcome: Outcome) -> None:
    """An answer through the tunnel, silence, what ICMP says, and no report at all."""
    assert classify(finished(0, stdout=report)) is outcome


def test_wireguard_classifier_keeps_to_the_evidence() -> None:
    """The time limit is a timeout, and what nobody knows has failed."""
    assert keeps_to_the_evidence(classify)
