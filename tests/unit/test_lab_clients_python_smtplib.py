"""smtplib: what the report of its child amounts to."""

from __future__ import annotations

from typing import Any

from lab.clients import python_smtplib
from lab.clients.base import Outcome
from tests.unit.client_kit import finished


def report(**changes: Any) -> dict[str, Any]:
    """A report of the smtplib child that came nowhere, with some of it changed."""
    return {"accepted": False, "tls": False, "stage": "connect", "classes": [], "errnos": []} | changes


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


def test_smtplib_report_is_found_behind_the_dialogue() -> None:
    """The report is the child's last line of that kind; without one there is none."""
    stdout = 'something else\nreport: {"accepted": true}\n'
    assert python_smtplib.find_report(finished(0, stdout=stdout)) == {"accepted": True}
    assert python_smtplib.find_report(finished(-9)) is None
