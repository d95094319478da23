"""Python's smtplib in three modes: strict STARTTLS, opportunistic STARTTLS, TLS from the first byte.

The client is python_smtplib_child.py, a process of its own on the host, written as smtplib's documentation
shows it. It reports the stage it reached and the exception that ended it, as data; here that becomes an
outcome.

Source: Python's documentation of smtplib.
"""

from __future__ import annotations

import errno
import json
import platform
import sys
from pathlib import Path
from typing import Any

from lab.clients.base import (
    ClientResult,
    Finished,
    Outcome,
    Target,
    Workplace,
    run_program,
)
from lab.clients.senders import senders
from lab.host import Host

CHILD = Path(__file__).with_name("python_smtplib_child.py")
REPORT_MARK = "report: "

OUTCOME_OF_ERRNO = {
    errno.ECONNRESET: Outcome.CONNECTION_RESET,
    # Linux reports a RST that comes after a FIN as EPIPE.
    errno.EPIPE: Outcome.CONNECTION_RESET,
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.ETIMEDOUT: Outcome.TIMEOUT,
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
    errno.EACCES: Outcome.UNREACHABLE,
}

_OUTCOME_OF_CLASS = {
    "gaierror": Outcome.NAME_ERROR,
    "SSLEOFError": Outcome.CONNECTION_CLOSED,
    "SSLZeroReturnError": Outcome.CONNECTION_CLOSED,
    "SSLError": Outcome.TLS_ERROR,
    "TimeoutError": Outcome.TIMEOUT,
    "SMTPAuthenticationError": Outcome.AUTH_ERROR,
    "SMTPResponseException": Outcome.REJECTED,
    "SMTPRecipientsRefused": Outcome.REJECTED,
    "SMTPServerDisconnected": Outcome.CONNECTION_CLOSED,
}
"""Most telling class first: the first one counts that the exception, or one it came from, belongs to."""


def classify(report: dict[str, Any] | None, exit_status: int | None) -> Outcome:
    """The outcome from the child's report.

    report: {"accepted": bool, "tls": bool, "stage": word, "classes": names of the exception's and its causes'
    classes, "errnos": their numbers}; None if the child ended without one
    """
    if report and report["accepted"]:
        return Outcome.DELIVERED if report["tls"] else Outcome.CLEAR_TEXT
    if exit_status is None:
        return Outcome.TIMEOUT
    if report is None:
        return Outcome.FAILED
    for number in report["errnos"]:
        if number in OUTCOME_OF_ERRNO:
            return OUTCOME_OF_ERRNO[number]
    for name, outcome in _OUTCOME_OF_CLASS.items():
        if name in report["classes"]:
            return outcome
    if "SMTPNotSupportedError" in report["classes"]:
        return Outcome.TLS_ERROR if report["stage"] == "starttls" else Outcome.AUTH_ERROR
    return Outcome.FAILED


def find_report(done: Finished) -> dict[str, Any] | None:
    """The child's last word, if it came to say it."""
    for line in reversed(done.stdout.splitlines()):
        if line.startswith(REPORT_MARK):
            report: dict[str, Any] = json.loads(line.removeprefix(REPORT_MARK))
            return report
    return None


def run(host: Host, target: Target, *, mode: str, port: int) -> ClientResult:
    """Send the target's mail. mode: submission | opportunistic | implicit."""
    workplace = Workplace.make(target, f"smtplib-{mode}")
    settings = {
        "mode": mode,
        "server": target.server_name,
        "port": target.port or port,
        "family": target.family,
        "user": target.user,
        "password": target.password,
        "ca_file": str(target.ca_file) if target.ca_file else None,
        "sender": target.sender,
        "recipient": target.recipient,
        "message": target.mail().decode("latin-1"),
    }
    settings_file = workplace.write("settings.json", json.dumps(settings).encode())
    # -I -S: smtplib needs only the standard library, and a start without site-packages is twice as fast.
    argv = [sys.executable, "-I", "-S", str(CHILD), str(settings_file)]
    done = run_program(host, argv, workplace=workplace, time_limit_s=target.time_limit_s)
    return done.result(classify(find_report(done), done.exit_status), f"Python {platform.python_version()}")


CLIENTS = senders("smtplib", run)
