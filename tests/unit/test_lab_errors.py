"""lab/errors.py."""

from __future__ import annotations

from pathlib import Path

from lab.errors import LabError


def test_lab_error_reads_as_what_is_missing_and_what_to_do() -> None:
    """One line for the user, both halves for a program."""
    error = LabError("expected the program ip, got none", "sudo apt-get install iproute2")
    assert str(error) == "expected the program ip, got none; sudo apt-get install iproute2"
    assert (error.message, error.fix) == (
        "expected the program ip, got none",
        "sudo apt-get install iproute2",
    )


def test_lab_error_with_something_to_read_says_where() -> None:
    """The next step is to read it; whoever clears up knows that it has to stay."""
    error = LabError("expected the box to become ready, got 'no queue'", read=Path("runs/1/box.log"))
    assert str(error) == "expected the box to become ready, got 'no queue'; read runs/1/box.log"
    assert error.read == Path("runs/1/box.log")
