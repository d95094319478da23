"""tcp-script: what its report means."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from lab.clients.base import Outcome
from lab.clients.tcp_script import classify


def report(**changes: Any) -> dict[str, Any]:
    """What the child says at its end."""
    return {"ended": "error", "errno": None, "name": False, "line": 0} | changes


@pytest.mark.parametrize(
    ("said", "status", "outcome"),
    [
        (report(ended="done"), 0, Outcome.CONNECTED),
        (report(ended="closed"), 1, Outcome.CONNECTION_CLOSED),
        (report(errno=errno.ECONNRESET), 1, Outcome.CONNECTION_RESET),
        (report(errno=errno.EPIPE), 1, Outcome.CONNECTION_RESET),
        (report(errno=errno.ECONNREFUSED), 1, Outcome.REFUSED),
        (report(errno=errno.ETIMEDOUT), 1, Outcome.TIMEOUT),
        (report(errno=errno.EHOSTUNREACH), 1, Outcome.UNREACHABLE),
        (report(errno=-2, name=True), 1, Outcome.NAME_ERROR),
        (report(errno=errno.EIO), 1, Outcome.FAILED),
        (None, 1, Outcome.FAILED),
        (None, None, Outcome.TIMEOUT),
    ],
)
def test_tcp_script_outcome_is_what_the_child_reports(
    said: dict[str, Any] | None, status: int | None, outcome: Outcome
) -> None:
    """A run the lab had to end timed out; without a report nothing is guessed."""
    assert classify(said, status) is outcome
