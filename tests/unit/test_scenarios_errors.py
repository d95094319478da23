"""The command line's own error is told apart from a bug."""

from __future__ import annotations

import pytest

from lab import sandbox
from lab.errors import LabError
from scenarios.cli import BAD_INPUT, NOT_READY, app, guarded
from scenarios.errors import ArgumentError


def test_errors_argument_error_is_one_line_and_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """What the user can put right is a message."""

    def command() -> None:
        raise ArgumentError("expected a run, got 'x'; tamperlab list")

    assert guarded(command) == BAD_INPUT
    assert capsys.readouterr().err == "expected a run, got 'x'; tamperlab list\n"


def test_errors_bug_is_not_hidden() -> None:
    """A ValueError out of our own code is a bug and keeps its traceback."""

    def command() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        guarded(command)


def test_errors_machine_that_is_not_ready_is_one_line_and_exit_status_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where namespaces are forbidden, `run` says so and how to go on, and starts nothing."""

    def forbidden() -> None:
        raise LabError("expected namespaces for an ordinary user, got 'EPERM'", "run as root with sudo")

    monkeypatch.setattr(sandbox, "enter", forbidden)
    status = guarded(lambda: app(["run", "starttls-block"], standalone_mode=False))
    assert status == NOT_READY == 3
    expected = "expected namespaces for an ordinary user, got 'EPERM'; run as root with sudo\n"
    assert capsys.readouterr() == ("", expected)
