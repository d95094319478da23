"""The probe: what the words of its report amount to."""

from __future__ import annotations

import pytest

from lab.clients import tcp_probe
from lab.clients.base import Outcome
from tests.unit.client_kit import finished, keeps_to_the_evidence


def test_probe_keeps_to_the_evidence() -> None:
    """A run the lab had to end timed out; a probe that died without a report failed."""
    assert keeps_to_the_evidence(tcp_probe.classify)


@pytest.mark.parametrize(
    ("report", "outcome"),
    [
        ('[["answered", 40000]]', Outcome.FETCHED),
        ('[["sent", 40000]]', Outcome.SENT),
        ('[["errno 104", 40000]]', Outcome.CONNECTION_RESET),
        ('[["errno 111", 40000]]', Outcome.REFUSED),
        ('[["closed", 40000]]', Outcome.CONNECTION_CLOSED),
        ('[["timeout", 40000]]', Outcome.TIMEOUT),
        ('[["tls: certificate verify failed", 40000]]', Outcome.TLS_ERROR),
        ('[["answered", 40000], ["errno 104", 40000], ["timeout", 40000]]', Outcome.CONNECTION_RESET),
        ('[["answered", 40000], ["answered", 40000]]', Outcome.FETCHED),
    ],
)
def test_probe_outcome_is_the_first_that_is_no_success(report: str, outcome: Outcome) -> None:
    """Of several connections the one that failed first in the list counts."""
    assert tcp_probe.classify(finished(0, stdout=f"report: {report}\n")) is outcome
