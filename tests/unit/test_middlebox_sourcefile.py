"""What is not a file is called what it is, wherever a path of the user's may stand: never a traceback, never a wait."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from middlebox.load import load_deployment, load_profile
from middlebox.sourcefile import no_file
from middlebox.yamlsource import ProfileError, ScenarioError
from scenarios.cli import BAD_INPUT, app, guarded
from scenarios.load import SCENARIOS, load_scenario

LONG = "a" * 300
SHOWN_LONG = f"{'a' * 117}..."
THINGS = {
    "dir.yaml": "a directory; name a file",
    "folder": "a directory; name a file",
    "fifo.yaml": "a FIFO; name a file",
    "socket.yaml": "a socket; name a file",
    "/dev/zero": "a device; name a file",
    "loop.yaml": "a symbolic link that leads back to itself; look where it leads: ls -l",
    "dead.yaml": "a symbolic link to nothing; look where it leads: ls -l",
    "gone.yaml": "where there is none; check the path",
    "folder/gone.yaml": "where there is none; check the path",
    f"{LONG}.yaml": "whose name is too long for any file; shorten it",
    LONG: "whose name is too long for any file; shorten it",
}
"""What somebody may name in place of a file, and what he is told about it."""


@pytest.fixture
def things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with all of them in it."""
    monkeypatch.chdir(tmp_path)
    for name in ("dir.yaml", "folder"):
        Path(name).mkdir()
    os.mkfifo("fifo.yaml")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket.yaml")
    Path("loop.yaml").symlink_to("loop.yaml")
    Path("dead.yaml").symlink_to("nothing")
    return tmp_path


def message(name: str) -> str:
    shown = SHOWN_LONG if name.startswith(LONG) else name
    return f"expected a file, got {shown!r}, {THINGS[name]}"


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("name", THINGS)
def test_what_is_no_file_is_called_what_it_is(name: str) -> None:
    """The same words for a profile, a deployment and a scenario."""
    for load, error in (
        (load_profile, ProfileError), (load_deployment, ProfileError), (load_scenario, ScenarioError)
    ):  # fmt: skip
        with pytest.raises(error) as raised:
            load(name)
        assert str(raised.value) == message(name)


@pytest.mark.parametrize("name", THINGS)
def test_what_is_no_file_in_a_timeline_has_line_and_column(things: Path, name: str) -> None:
    """A file that names it is told where it does."""
    (things / "box.yaml").write_text(f"deployment: x\ntimeline: [{{at: 0s, profile: {name}}}]\n")
    with pytest.raises(ProfileError) as raised:
        load_deployment("box.yaml")
    assert str(raised.value) == f"box.yaml:2:30: {message(name)}"


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("name", [f"{LONG}.yaml", "dir.yaml", "loop.yaml"])
def test_what_is_no_file_in_a_scenario_has_line_and_column(things: Path, name: str) -> None:
    """A profile by its path counts from the folder of the scenario."""
    text = f"scenario: x\npurpose: y\nmiddlebox: {{profile: {name}}}\nservices: {{web: nginx}}\n"
    text += "steps: [{on: sim1, client: curl-http, to: web.example}]\n"
    text += "expect: [{step: curl-http, outcome: fetched}]\n"
    (things / "play.yaml").write_text(text)
    with pytest.raises(ScenarioError) as raised:
        load_scenario("play.yaml")
    assert str(raised.value) == f"play.yaml:3:22: {message(name)}"


def test_name_with_a_zero_byte_is_no_file() -> None:
    """YAML can write one; the system could not be asked for it."""
    assert (
        no_file(Path("a\0.yaml")) == r"expected a file, got 'a\x00.yaml', where there is none; check the path"
    )


@pytest.mark.usefixtures("things")
@pytest.mark.parametrize("command", ["check", "run", "profiles", "shell", "show"])
@pytest.mark.parametrize("name", [f"{LONG}.yaml", "dir.yaml", "fifo.yaml", "loop.yaml", "/dev/zero"])
def test_command_with_what_is_no_file_ends_in_a_message(
    command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command that takes a name or a file ends with the status for bad input and one line."""
    try:
        status = guarded(lambda: app([command, name], standalone_mode=True))
    except SystemExit as ended:
        status = int(str(ended.code))
    said = capsys.readouterr()
    assert status == BAD_INPUT
    assert said.err.startswith("expected ")
    assert said.err.count("\n") == 1


@pytest.mark.usefixtures("things")
def test_check_takes_the_folder_of_a_scenario(capsys: pytest.CaptureFixture[str]) -> None:
    """As run does."""
    with pytest.raises(SystemExit) as ended:
        app(["check", str(SCENARIOS / "starttls-block")], standalone_mode=True)
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"{SCENARIOS / 'starttls-block'}: good\n"
