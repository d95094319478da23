"""What the command line owes to whoever sits at it."""

from __future__ import annotations

import json

import pytest
import typer
from rich.table import Table

from scenarios.terminal import INTERRUPTED, interruptible, page, print_json, progress_of


def test_terminal_page_into_a_pipe_has_whole_rows_and_no_blanks_at_their_ends(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made for grep and diff: a row is a line, and ends with its last word."""
    monkeypatch.setenv("COLUMNS", "40")
    table = Table.grid(padding=(0, 2))
    table.add_row("starttls-block", "the client is reset at both ends the moment it asks for TLS")
    table.add_row("smtps-block", "at once")
    with page(wide=True) as console:
        console.print(table)
    wide = capsys.readouterr().out.splitlines()
    assert [line.rpartition("  ")[2].strip() for line in wide] == [
        "the client is reset at both ends the moment it asks for TLS", "at once",
    ]  # fmt: skip
    with page() as console:
        console.print(table)
    narrow = capsys.readouterr().out.splitlines()
    assert max(map(len, narrow)) <= 40
    assert all(line == line.rstrip() for line in narrow)


def test_terminal_page_on_a_terminal_is_as_wide_as_that(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are folded for whoever reads them there."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    with page(wide=True) as console:
        console.print("word " * 20)
    assert len(capsys.readouterr().out.splitlines()) > 2


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
