"""The QUIC client's words and outcomes."""

from __future__ import annotations

import socket

import pytest

from lab.clients import quic_child
from lab.clients.base import Finished, Outcome
from lab.clients.quic import classify, find_report


def finished(stdout: str, exit_status: int | None = 0) -> Finished:
    return Finished(("quic",), exit_status, 0.1, stdout, "")


@pytest.mark.parametrize(
    ("stdout", "outcome"),
    [
        ('report: ["answered", 40000]\n', Outcome.CONNECTED),
        ('report: ["timeout", 40000]\n', Outcome.TIMEOUT),
        ('report: ["closed", 40000]\n', Outcome.CONNECTION_CLOSED),
        ("Traceback\n", Outcome.FAILED),
    ],
)
def test_quic_outcome_is_what_the_child_reports(stdout: str, outcome: Outcome) -> None:
    """Without a report it has failed."""
    assert classify(finished(stdout)) is outcome


def test_quic_that_did_not_end_is_a_timeout_and_its_port_is_told() -> None:
    """The port finds the connection in the captures."""
    assert classify(finished("", None)) is Outcome.TIMEOUT
    assert find_report(finished('report: ["answered", 40000]\n')) == ("answered", 40000)


def test_quic_child_binds_the_same_port_over_both_ip_versions() -> None:
    """Both are played at the same time on the same host."""
    with quic_child.bound_socket(socket.AF_INET, 0) as four:
        port = four.getsockname()[1]
        with quic_child.bound_socket(socket.AF_INET6, port) as six:
            assert six.getsockname()[1] == port
