"""openssl s_client: when a session counts as one."""

from __future__ import annotations

from lab.clients import s_client
from lab.clients.base import Outcome
from tests.unit.client_kit import finished, keeps_to_the_evidence


def test_s_client_keeps_to_the_evidence() -> None:
    """A run the lab had to end timed out; a failure of unknown kind is `failed`, nothing is guessed."""
    assert keeps_to_the_evidence(s_client.classify)


def test_s_client_needs_the_servers_goodbye_to_be_connected() -> None:
    """A handshake alone is not a session: the reply to QUIT must have come through."""
    handshake = "CONNECTED(00000003)\nVerification: OK\n"
    assert s_client.classify(finished(0, stdout=handshake + "221 Bye\n")) is Outcome.CONNECTED
    assert s_client.classify(finished(1, stdout=handshake, resets=1)) is Outcome.CONNECTION_RESET
    assert s_client.classify(finished(0, stdout=handshake)) is Outcome.CONNECTION_CLOSED


def test_s_client_error_number_of_a_reset_is_a_reset() -> None:
    """Where it prints the number of ECONNRESET, no counter is needed."""
    lost = "CONNECTED(00000003)\nwrite:errno=104\n"
    assert s_client.classify(finished(1, stdout=lost)) is Outcome.CONNECTION_RESET
    assert s_client.classify(finished(1, stdout=lost.replace("104", "0"))) is Outcome.CONNECTION_CLOSED
