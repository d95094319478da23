"""What the command line owes to whoever sits at it: progress, data as JSON, and an end that Ctrl-C can bring about."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer
from rich.console import Console

if TYPE_CHECKING:
    from scenarios.runner import Progress

INTERRUPTED = 130

_WIDE = 500
"""Columns, more than any row needs (chosen)."""


@contextmanager
def page(*, wide: bool = False) -> Iterator[Console]:
    """Where a command writes its text. Into a pipe or a file it goes without blanks at the ends of lines and, if it is
    `wide`, a row is a line, however long: `tamperlab list | grep mail` shows whole rows."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a terminal without Unicode gets `?` for what has no plain form
        sys.stdout.reconfigure(errors="replace")
    console = Console(highlight=False)
    if console.is_terminal:
        yield console
        return
    paper = Console(highlight=False, width=_WIDE if wide else None)
    with paper.capture() as written:
        yield paper
    print(*(line.rstrip() for line in written.get().splitlines()), sep="\n")


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends the command with one line; what was running ends with the lab."""
    try:
        yield
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


@contextmanager
def progress_of(title: str) -> Iterator[Progress]:
    """Says on stderr what is being done, where somebody is looking; an empty word stops it."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda words: None
        return
    with console.status(f"{title}: starting") as status:

        def say(words: str) -> None:
            if words:
                status.update(f"{title}: {words}")
            else:
                status.stop()

        yield say


def print_json(data: object) -> None:
    """On stdout; in lines where people read it, in one for a program, which has it in a tenth of the time."""
    indent = 1 if sys.stdout.isatty() else None
    sys.stdout.write(json.dumps(data, indent=indent, ensure_ascii=False) + "\n")
