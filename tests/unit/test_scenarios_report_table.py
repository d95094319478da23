"""The table of outcomes: scenario and controls side by side, nothing said twice, no outcome cut."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scenarios.report.table import broken, family_words, outcomes_table, step_names
from tests.unit.played import result


def drawn(data: dict[str, Any], *, width: int = 80, ascii_only: bool = False) -> str:
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None)
    console.print(outcomes_table(data, width=width, ascii_only=ascii_only))
    return file.getvalue()


def test_table_puts_controls_beside_the_scenario(tmp_path: Path) -> None:
    """One row per step, one column per world; alike over both IP versions is written once."""
    text = drawn(result(tmp_path))
    assert text.count("connection-reset") == 1
    assert text.count("delivered") == 1
    assert "no-middlebox" in text
    assert "sim1 to mail.example:587" in text


def test_table_says_which_ip_version_where_they_differ(tmp_path: Path) -> None:
    """A step that ends differently over IPv6 shows both."""
    data = result(tmp_path)
    data["worlds"][0]["plays"][1]["steps"][0]["outcome"] = "timeout"
    text = drawn(data)
    assert text.index("connection-reset") < text.index("IPv4") < text.index("timeout") < text.index("IPv6")


def test_table_says_the_port_where_a_control_uses_another(tmp_path: Path) -> None:
    """The control on another port shows that port."""
    data = result(tmp_path)
    for play in data["worlds"][1]["plays"]:
        play["steps"][0]["port"] = 25
    assert "port 25" in drawn(data)


@pytest.mark.parametrize("ascii_only", [True, False])
def test_table_with_many_controls_cuts_no_outcome(tmp_path: Path, *, ascii_only: bool) -> None:
    """Four worlds in 80 columns: the first column gives way."""
    data = result(tmp_path)
    data["worlds"] += [data["worlds"][1] | {"name": name} for name in ("other-port", "sims-swapped")]
    text = drawn(data, ascii_only=ascii_only)
    assert max(map(len, text.splitlines())) <= 80
    assert text.count("delivered") == 3
    assert text.count("connection-reset") == 1


@pytest.mark.parametrize(
    ("text", "cells", "lines"),
    [
        ("sim1 to mail.example:587", 24, ["sim1 to mail.example:587"]),
        ("sim1 to mail.example:587", 12, ["sim1 to", "mail.", "example:587"]),
        ("smtplib-submission", 12, ["smtplib-", "submission"]),
        ("unbreakable", 5, ["unbreakable"]),
    ],
)
def test_table_names_are_broken_where_a_reader_would(text: str, cells: int, lines: list[str]) -> None:
    """Behind a hyphen, a dot, a colon or a blank, and only if there is no room."""
    assert broken(text, cells) == lines


def test_table_steps_keep_their_order_and_a_step_that_never_ran_is_a_dash(tmp_path: Path) -> None:
    """A control that stopped early leaves a gap that is seen."""
    data = result(tmp_path)
    for play in data["worlds"][1]["plays"]:
        play["steps"] = []
    assert step_names(data["worlds"]) == ["send"]
    assert " - " in drawn(data)


def test_table_family_words_read_well() -> None:
    """`IPv4 and IPv6`."""
    assert (family_words([4]), family_words([4, 6])) == ("IPv4", "IPv4 and IPv6")
