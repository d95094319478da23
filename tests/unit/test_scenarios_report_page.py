"""The whole report: it fits the terminal, tells the story in order, and says where to look further."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from scenarios.report.page import print_report
from tests.unit.played import result


def page(data: dict[str, Any], *, width: int = 80, encoding: str = "utf-8", **options: bool) -> str:
    """The report as a terminal without colour shows it."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
    print_report(Console(file=file, width=width, color_system=None), data, **options)
    file.flush()
    return raw.getvalue().decode(encoding)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_page_fits_the_terminal(width: int, tmp_path: Path) -> None:
    """No line is wider than the terminal."""
    assert max(map(len, page(result(tmp_path), width=width).splitlines())) <= width


def test_page_tells_the_story_in_order(tmp_path: Path) -> None:
    """What, outcomes, packets, expectations, verdict, where to look."""
    text = page(result(tmp_path) | {"directory": "/runs/a"})
    places = [
        text.index(words)
        for words in (
            "starttls-block", "Both ends are reset.", "The connection comes up", "with the box", "client sim1",
            "↯ FORGED RST", "Expected, and seen", "✓ send ends with connection-reset", "✓ control no-middlebox",
            "As expected (3.2 s)", "Look closer", "smtp.command_line matches", "events.jsonl",
        )
    ]  # fmt: skip
    assert places == sorted(places)


def test_page_shows_one_ip_version_unless_all_are_asked_for(tmp_path: Path) -> None:
    """The IPv6 ladder is alike; it is counted, and shown with --all, as are the controls'."""
    short, whole = page(result(tmp_path)), page(result(tmp_path), all_ladders=True)
    assert (short.count("client sim1"), whole.count("client sim1")) == (1, 4)
    assert "1 more connection: " in short


def test_page_names_the_command_as_the_user_can_type_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its path until the shell finds it by name; the newest run is `latest`, others go by four letters."""
    data = result(tmp_path)
    monkeypatch.setenv("TAMPERLAB_RUNS", str(tmp_path))
    monkeypatch.setattr("sys.prefix", str(tmp_path / ".venv"))
    monkeypatch.chdir(tmp_path)
    program = tmp_path / ".venv" / "bin" / "tamperlab"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    letters = data["run_id"][-4:]
    assert f"1 more connection: .venv/bin/tamperlab show {letters} --all" in page(data)
    monkeypatch.setenv("PATH", str(program.parent))
    assert f"1 more connection: tamperlab show {letters} --all" in page(data)
    (tmp_path / "latest").symlink_to(".")
    assert "1 more connection: tamperlab show latest --all" in page(data)


def test_page_names_a_trigger_once(tmp_path: Path) -> None:
    """Two profiles of a timeline may have the same rule; it has one display filter."""
    data = result(tmp_path)
    twice = page(data | {"filters": [rule | {"profile": name} for rule in data["filters"] for name in "ab"]})
    assert twice.count("  trigger ") == page(data).count("  trigger ") == 1


def test_page_without_unicode_is_plain(tmp_path: Path) -> None:
    """Where the terminal knows only ASCII, marks and ladder do without more."""
    text = page(result(tmp_path), encoding="ascii")
    assert "*** FORGED RST" in text
    assert "ok send ends with connection-reset" in text
    assert "?" not in text.replace("more", "")


def test_page_of_a_failed_run_counts_what_failed(tmp_path: Path) -> None:
    """Two IP versions, one expectation each; of the packets that contradict it, those not drawn yet are drawn."""
    text = page(result(tmp_path, expected="delivered"))
    assert "✗ send ends with delivered: saw connection-reset" in text
    assert "2 expectations failed" in text
    above, below = text.split("✗ send ends")
    assert above.count("↯ FORGED RST") == below.count("↯ FORGED RST") == 2
    assert "192.0.2.11:45678 to 203.0.113.25:587: the packets drawn above" in below


def test_page_of_an_invalid_run_says_so_and_why(tmp_path: Path) -> None:
    """Nothing may be concluded from it, in words, with the reason and the world."""
    data = result(tmp_path)
    data["valid"] = False
    data["worlds"][1]["problems"] = ["the box's queue overflowed: 3 packets"]
    text = page(data)
    assert "INVALID RUN: nothing may be concluded from it" in text
    assert "control no-middlebox: the box's queue overflowed: 3 packets" in text
