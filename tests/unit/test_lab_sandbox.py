"""lab/sandbox.py: what can be told without entering one; the rest is in tests/emulation/test_lab_sandbox.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab import sandbox


def test_inside_is_false_on_the_machine_itself() -> None:
    """The tests run on the machine."""
    assert not sandbox.inside()


def test_program_path_adds_the_directories_of_system_programs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user of Debian finds ip and iptables; what he has set comes first."""
    monkeypatch.setenv("PATH", os.pathsep.join(["/home/me/bin", "/usr/sbin"]))
    assert sandbox.program_path() == "/home/me/bin:/usr/sbin:/usr/local/sbin:/sbin"


def test_main_without_a_command_says_what_it_expected(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 2, as for any wrong argument."""
    assert sandbox.main([]) == 2
    assert capsys.readouterr().err.startswith("expected a command, got nothing; ")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("someone:100000:65536\nme:200000:65536\n", (200_000, 65_535)),
        ("4242:300000:1000\n", (300_000, 1000)),
        ("someone:100000:65536\n", None),
        ("me:100000:0\nme:x:1\nme\n\n", None),
        ("", None),
    ],
)
def test_subordinate_range_is_the_users_own(
    text: str, found: tuple[int, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By name or by number, at most 65536 ids with the user's own; damaged lines are passed over."""
    entry = type("passwd", (), {"pw_name": "me"})
    monkeypatch.setattr("lab.sandbox.pwd.getpwuid", lambda uid: entry if uid == 4242 else None)
    monkeypatch.setattr("lab.sandbox.shutil.which", lambda program: f"/usr/bin/{program}")
    (tmp_path / "subuid").write_text(text)
    assert sandbox._subordinate_range(str(tmp_path / "subuid"), 4242) == found


def test_subordinate_range_without_the_tool_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A range is of no use without newuidmap and newgidmap."""
    monkeypatch.setattr("lab.sandbox.shutil.which", lambda program: None)
    (tmp_path / "subuid").write_text(f"{os.getuid()}:100000:65536\n")
    assert sandbox._subordinate_range(str(tmp_path / "subuid"), os.getuid()) is None
