"""Evidence for the classifiers of client drivers, and what every classifier promises."""

from __future__ import annotations

from collections.abc import Callable

from lab.clients.base import Finished, Outcome


def finished(status: int | None, *, stdout: str = "", stderr: str = "", resets: int = 0) -> Finished:
    """A program that ended so."""
    return Finished(("program",), status, 0.1, stdout, stderr, resets)


def keeps_to_the_evidence(classify: Callable[[Finished], Outcome]) -> bool:
    """No exit status is `timeout`, whatever was printed before; what no rule knows is `failed`."""
    ended_by_the_lab = classify(finished(None, stderr="Connected to server"))
    unknown = classify(finished(99, stderr="the moon is in the wrong house"))
    return (ended_by_the_lab, unknown) == (Outcome.TIMEOUT, Outcome.FAILED)
