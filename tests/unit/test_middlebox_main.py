"""The command line of the box: where it refuses to start, and what it says then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from middlebox.__main__ import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def outside_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the machine's own network, whatever namespace the tests run in."""
    monkeypatch.setattr("middlebox.__main__._in_lab", lambda: False)


@pytest.fixture
def in_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("middlebox.__main__._in_lab", lambda: True)


def arguments(tmp_path: Path, **changes: str) -> list[str]:
    values = {
        "profile": "tmobile-uk-2012",
        "inside": "lo",
        "outside": "lo",
        "events": str(tmp_path / "e.jsonl"),
    }
    return [word for name, value in (values | changes).items() for word in (f"--{name}", value)]


@pytest.mark.usefixtures("outside_lab")
def test_box_refuses_the_machines_own_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Outside a lab it exits with 3, touches nothing, and names the two ways out."""
    assert main(arguments(tmp_path)) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "--on-this-machine" in said.err
    assert "tamperlab shell" in said.err
    assert not (tmp_path / "e.jsonl").exists()


@pytest.mark.usefixtures("in_lab")
def test_missing_interface_is_named_with_those_that_exist(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A typing error in an interface name is a machine that is not ready: exit code 3."""
    assert main(arguments(tmp_path, inside="insde")) == 3
    said = capsys.readouterr().err
    assert "got 'insde'" in said
    assert "lo" in said


@pytest.mark.usefixtures("in_lab")
def test_unknown_profile_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bad profile starts nothing and leaves no log behind."""
    assert main(arguments(tmp_path, profile="tmobile-uk-2102")) == 2
    assert "tmobile-uk-2012" in capsys.readouterr().err
    assert not (tmp_path / "e.jsonl").exists()


@pytest.mark.usefixtures("in_lab")
def test_unwritable_events_file_exits_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No ground truth, no run."""
    assert main(arguments(tmp_path, events=str(tmp_path / "nowhere" / "e.jsonl"))) == 2
    assert "expected a file to write events to" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["profile", "inside", "outside", "events"])
def test_missing_argument_exits_with_2(
    tmp_path: Path, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """argparse names what is missing."""
    argv = arguments(tmp_path)
    at = argv.index(f"--{missing}")
    with pytest.raises(SystemExit) as caught:
        main(argv[:at] + argv[at + 2 :])
    assert caught.value.code == 2
    assert f"--{missing}" in capsys.readouterr().err


def test_box_starts_without_the_heavy_libraries() -> None:
    """A box is up in a moment: nothing that only the tools around it need is imported."""
    heavy = ("pydantic", "rich", "typer", "scapy", "mininet", "jinja2", "asyncio", "scenarios", "lab")
    code = f"import sys, middlebox.__main__; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_marker_of_the_sandbox_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sandbox's own namespace is a lab too, though its first process lives in it."""
    from middlebox.__main__ import _in_lab

    monkeypatch.setattr(os, "environ", {"TAMPERLAB_SANDBOX": "1"})
    assert _in_lab()
