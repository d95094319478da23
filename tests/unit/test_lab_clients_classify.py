"""From evidence to outcome, where no real server can easily make the evidence: time limits, ties, late losses."""

from __future__ import annotations

from typing import Any

import pytest

from lab.clients import curl, msmtp, python_smtplib, s_client, ssh, swaks
from lab.clients.base import Finished, Outcome


def finished(status: int | None, *, stdout: str = "", stderr: str = "", resets: int = 0) -> Finished:
    """A program that ended so."""
    return Finished(("program",), status, 0.1, stdout, stderr, resets)


def report(**changes: Any) -> dict[str, Any]:
    """A report of the smtplib child that came nowhere, with some of it changed."""
    return {"accepted": False, "tls": False, "stage": "connect", "classes": [], "errnos": []} | changes


CLASSIFIERS = {
    "swaks": swaks.classify,
    "msmtp": msmtp.classify,
    "curl": lambda done: curl.classify(done, Outcome.DELIVERED),
    "s_client": s_client.classify,
    "ssh": ssh.classify,
}


@pytest.mark.parametrize("program", CLASSIFIERS)
def test_program_ended_by_the_time_limit_timed_out(program: str) -> None:
    """No exit status means that the lab ended it: `timeout`, whatever it printed before."""
    assert CLASSIFIERS[program](finished(None, stderr="Connected to server")) is Outcome.TIMEOUT


@pytest.mark.parametrize("program", CLASSIFIERS)
def test_program_that_fails_in_an_unknown_way_failed(program: str) -> None:
    """What no rule knows is `failed`; nothing is guessed."""
    assert CLASSIFIERS[program](finished(99, stderr="the moon is in the wrong house")) is Outcome.FAILED


def test_smtplib_that_lost_the_connection_after_its_mail_was_taken_delivered() -> None:
    """A mail the server took is delivered, although QUIT met a RST or the time limit came."""
    reset = report(accepted=True, tls=True, stage="quit", classes=["ConnectionResetError"], errnos=[104])
    assert python_smtplib.classify(reset, 0) is Outcome.DELIVERED
    assert python_smtplib.classify(report(accepted=True, stage="quit"), None) is Outcome.CLEAR_TEXT


def test_smtplib_without_an_extension_tells_tls_from_login() -> None:
    """The same exception means no TLS at one stage and no way to log in at another."""
    at_tls = report(stage="starttls", classes=["SMTPNotSupportedError"])
    at_login = report(stage="login", classes=["SMTPNotSupportedError"])
    assert python_smtplib.classify(at_tls, 1) is Outcome.TLS_ERROR
    assert python_smtplib.classify(at_login, 1) is Outcome.AUTH_ERROR


def test_smtplib_that_died_without_a_report_failed() -> None:
    """A child that crashed says nothing; that is no outcome of the network."""
    assert python_smtplib.classify(None, -11) is Outcome.FAILED


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


def test_swaks_refused_login_is_no_reset_although_one_followed() -> None:
    """A RST that came after the server's 535 was not what ended the attempt."""
    transcript = " ~> AUTH PLAIN xyz\n<~* 535 5.7.8 bad\n ~> QUIT\n"
    assert swaks.classify(finished(28, stdout=transcript, resets=1)) is Outcome.AUTH_ERROR


def test_msmtp_lost_in_tls_is_told_by_the_counters() -> None:
    """GnuTLS has one message for FIN when receiving and RST when sending."""
    lost = "msmtp: TLS handshake failed: The TLS connection was non-properly terminated.\n"
    assert msmtp.classify(finished(76, stderr=lost, resets=1)) is Outcome.CONNECTION_RESET
    assert msmtp.classify(finished(76, stderr=lost)) is Outcome.CONNECTION_CLOSED


def test_curl_with_an_address_tried_in_vain_and_another_that_answered_goes_by_the_last_word() -> None:
    """The first address was refused, the second one's connection was reset: that is what ended it."""
    text = (
        "* connect to 2001:db8:3::25 port 587 failed: Connection refused\n"
        "* Connected to mail.example (203.0.113.25) port 587\n"
        "curl: (56) Recv failure: Connection reset by peer\n"
    )
    assert curl.classify(finished(56, stderr=text), Outcome.DELIVERED) is Outcome.CONNECTION_RESET
    refused = (
        text.splitlines()[0] + "\ncurl: (7) Failed to connect to mail.example port 587: Couldn't connect\n"
    )
    assert curl.classify(finished(7, stderr=refused), Outcome.DELIVERED) is Outcome.REFUSED


def test_s_client_needs_the_servers_goodbye_to_be_connected() -> None:
    """A handshake alone is not a session: the reply to QUIT must have come through."""
    handshake = "CONNECTED(00000003)\nVerification: OK\n"
    assert s_client.classify(finished(0, stdout=handshake + "221 Bye\n")) is Outcome.CONNECTED
    assert s_client.classify(finished(1, stdout=handshake, resets=1)) is Outcome.CONNECTION_RESET
    assert s_client.classify(finished(0, stdout=handshake)) is Outcome.CONNECTION_CLOSED


def test_ssh_needs_the_commands_answer_to_be_connected() -> None:
    """Exit status 0 without the answer of the command is not a session."""
    assert ssh.classify(finished(0, stdout=ssh.ANSWER + "\n")) is Outcome.CONNECTED
    assert ssh.classify(finished(0)) is Outcome.FAILED
    assert ssh.ANSWER not in ssh.COMMAND
