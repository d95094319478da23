"""msmtp: what its messages and the host's counters amount to."""

from __future__ import annotations

from lab.clients import msmtp
from lab.clients.base import Outcome
from tests.unit.client_kit import finished, keeps_to_the_evidence


def test_msmtp_keeps_to_the_evidence() -> None:
    """A run the lab had to end timed out; a failure of unknown kind is `failed`, nothing is guessed."""
    assert keeps_to_the_evidence(msmtp.classify)


def test_msmtp_lost_in_tls_is_told_by_the_counters() -> None:
    """GnuTLS has one message for FIN when receiving and RST when sending."""
    lost = "msmtp: TLS handshake failed: The TLS connection was non-properly terminated.\n"
    assert msmtp.classify(finished(76, stderr=lost, resets=1)) is Outcome.CONNECTION_RESET
    assert msmtp.classify(finished(76, stderr=lost)) is Outcome.CONNECTION_CLOSED
