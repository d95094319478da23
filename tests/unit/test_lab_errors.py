"""lab/errors.py."""

from __future__ import annotations

from lab.errors import LabError


def test_lab_error_reads_as_what_is_missing_and_what_to_do() -> None:
    """One line for the user, both halves for a program."""
    error = LabError("expected the program ip, got none", "sudo apt-get install iproute2")
    assert str(error) == "expected the program ip, got none; sudo apt-get install iproute2"
    assert (error.message, error.fix) == (
        "expected the program ip, got none",
        "sudo apt-get install iproute2",
    )
