"""The command line's own error is told apart from a bug."""

from __future__ import annotations

import pytest

from scenarios.cli import BAD_INPUT, NOT_READY, guarded
from scenarios.errors import ArgumentError


def test_errors_argument_error_is_one_line_and_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """What the user can put right is a message."""

    def command() -> None:
        raise ArgumentError("expected a run, got 'x'; tamperlab list")

    assert guarded(command) == BAD_INPUT
    assert capsys.readouterr().err == "expected a run, got 'x'; tamperlab list\n"
    assert NOT_READY == 3


def test_errors_bug_is_not_hidden() -> None:
    """A ValueError out of our own code is a bug and keeps its traceback."""

    def command() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        guarded(command)
