"""dig: whose answer it took."""

from __future__ import annotations

import pytest

from lab.clients.base import Finished, Outcome
from lab.clients.dig import classify


def printed(status: str, *records: str) -> str:
    return f";; ->>HEADER<<- opcode: QUERY, status: {status}, id: 7\n\n;; ANSWER SECTION:\n" + "\n".join(
        records
    )


def finished(stdout: str, exit_status: int | None = 0) -> Finished:
    return Finished(("dig",), exit_status, 0.1, stdout, "")


@pytest.mark.parametrize(
    ("stdout", "outcome"),
    [
        (printed("NOERROR", "blocked.example.\t60\tIN\tA\t203.0.113.80"), Outcome.FETCHED),
        (printed("NOERROR", "blocked.example.\t60\tIN\tAAAA\t2001:db8:3::80"), Outcome.FETCHED),
        (printed("NOERROR", "blocked.example.\t60\tIN\tA\t198.18.0.11"), Outcome.MISLED),
        (printed("NOERROR", "blocked.example.\t60\tIN\tAAAA\t2001::11"), Outcome.MISLED),
        (printed("NXDOMAIN"), Outcome.NAME_ERROR),
        (printed("NOERROR"), Outcome.NAME_ERROR),
        (";; connection timed out; no servers could be reached", Outcome.TIMEOUT),
        ("", Outcome.FAILED),
    ],
)
def test_dig_outcome_says_whether_the_lab_has_answered(stdout: str, outcome: Outcome) -> None:
    """An address outside the lab's server network comes from somebody else than its name server."""
    assert classify(finished(stdout)) is outcome


def test_dig_that_did_not_end_is_a_timeout() -> None:
    """Nothing else can be said of it."""
    assert classify(finished("", None)) is Outcome.TIMEOUT
