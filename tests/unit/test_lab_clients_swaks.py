"""swaks: what its exit codes, transcript and the host's counters amount to."""

from __future__ import annotations

import pytest

from lab.clients import swaks
from lab.clients.base import Outcome
from lab.errors import LabError
from tests.unit.client_kit import finished, keeps_to_the_evidence


def test_swaks_keeps_to_the_evidence() -> None:
    """A run the lab had to end timed out; a failure of unknown kind is `failed`, nothing is guessed."""
    assert keeps_to_the_evidence(swaks.classify)


def test_swaks_that_lost_the_connection_after_its_mail_was_taken_delivered() -> None:
    """The reply to the final dot decides, under TLS (`~`) and without; the loss afterwards does not."""
    lost = "*** Remote host closed connection unexpectedly.\n"
    for mark, outcome in (("~", Outcome.DELIVERED), ("-", Outcome.CLEAR_TEXT)):
        transcript = f" {mark}> .\n<{mark}  250 2.0.0 OK\n {mark}> QUIT\n{lost}"
        assert swaks.classify(finished(6, stdout=transcript, resets=1)) is outcome


def test_swaks_that_lost_the_connection_is_told_by_the_counters() -> None:
    """swaks has the same words for FIN and RST; only the host's counter of RSTs tells them apart."""
    lost = "*** Remote host closed connection unexpectedly.\n"
    assert swaks.classify(finished(6, stdout=lost, resets=1)) is Outcome.CONNECTION_RESET
    assert swaks.classify(finished(6, stdout=lost)) is Outcome.CONNECTION_CLOSED


@pytest.mark.parametrize(
    "why",
    [
        "certificate verification failed (unable to get local issuer certificate)",
        "certificate verification failed (unknown), server certificate did not match target host a.example",
        "server certificate did not match target host mail.example",
    ],
)
def test_swaks_that_does_not_trust_the_server_says_so(why: str) -> None:
    """From 20240103 on it ends the connection itself, after the handshake: no loss."""
    done = finished(29, stdout=f"*** TLS startup failed (connect(): {why})\n")
    assert swaks.classify(done) is Outcome.TLS_ERROR


def test_swaks_refused_login_is_no_reset_although_one_followed() -> None:
    """A RST that came after the server's 535 was not what ended the attempt."""
    transcript = " ~> AUTH PLAIN xyz\n<~* 535 5.7.8 bad\n ~> QUIT\n"
    assert swaks.classify(finished(28, stdout=transcript, resets=1)) is Outcome.AUTH_ERROR


def test_swaks_without_its_libraries_names_their_packages() -> None:
    """Debian installs swaks without TLS and IPv6; the message says what to install."""
    lacking = finished(10, stdout="*** IPv6 not available: requires IO::Socket::INET6.  Exiting\n")
    with pytest.raises(LabError, match="IPv6 not available: requires IO::Socket::INET6") as caught:
        swaks.check_libraries(lacking)
    assert "libio-socket-inet6-perl" in caught.value.fix
    swaks.check_libraries(finished(28))
