"""What the command line owes to whoever sits at it."""

from __future__ import annotations

import json

import pytest
import typer

from scenarios.terminal import INTERRUPTED, interruptible, print_json, progress_of


def test_terminal_ctrl_c_is_one_line_and_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    """128 + SIGINT, as shells have it, and no traceback."""
    with pytest.raises(typer.Exit) as ended, interruptible():
        raise KeyboardInterrupt
    assert ended.value.exit_code == INTERRUPTED == 128 + 2
    assert capsys.readouterr().err == "interrupted; nothing is left running\n"


def test_terminal_without_anybody_there_gets_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    """A log file is not to be filled with spinners."""
    with progress_of("starttls-block") as progress:
        progress("building the network")
    assert capsys.readouterr() == ("", "")


def test_terminal_with_somebody_there_says_what_is_done(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, so that the report on stdout stays clean."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    with progress_of("starttls-block") as progress:
        progress("building the network")
    said = capsys.readouterr()
    assert "starttls-block: " in said.err
    assert said.out == ""


def test_terminal_json_is_data_and_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """Names are written as they are, not as escapes."""
    print_json({"a": ["ä", 1]})
    said = capsys.readouterr().out
    assert json.loads(said) == {"a": ["ä", 1]}
    assert "ä" in said
