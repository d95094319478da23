"""What became of xl2tpd's tunnel, from what it printed."""

from __future__ import annotations

import pytest

from lab.clients.base import Outcome
from lab.clients.l2tp import classify
from tests.unit.client_kit import finished, keeps_to_the_evidence


@pytest.mark.parametrize(
    ("status", "printed", "outcome"),
    [
        (1, "Connection established to 203.0.113.25, 17010.  Local: 1, Remote: 2", Outcome.CONNECTED),
        (None, "Connecting to host 203.0.113.25, port 17010", Outcome.TIMEOUT),
        (1, "Maximum retries exceeded for tunnel 44211.  Closing.", Outcome.TIMEOUT),
        (1, "init_config: Unable to open config file", Outcome.FAILED),
    ],
)
def test_l2tp_outcome_is_what_it_printed(status: int | None, printed: str, outcome: Outcome) -> None:
    """A tunnel, silence, patience at its end, and a program that did not even start."""
    assert classify(finished(status, stdout=printed)) is outcome


def test_l2tp_classifier_keeps_to_the_evidence() -> None:
    """The time limit is a timeout, and what nobody knows has failed."""
    assert keeps_to_the_evidence(classify)
