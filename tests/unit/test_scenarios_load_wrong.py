"""Each wrong scenario in tests/data/wrong/scenarios gets exactly the message beside it (same name, `.txt`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from middlebox.yamlsource import ScenarioError
from scenarios.load import load_scenario

WRONG = Path(__file__).parents[1] / "data" / "wrong" / "scenarios"


@pytest.mark.parametrize("file", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_load_wrong_scenario_says_where_and_what(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong file is refused with file, line, column, what was expected, what was found and what to do."""
    monkeypatch.chdir(WRONG)
    with pytest.raises(ScenarioError) as error:
        load_scenario(file.name)
    assert str(error.value) == file.with_suffix(".txt").read_text(encoding="utf-8").rstrip("\n")


def test_load_wrong_scenarios_are_many() -> None:
    """The ways to go wrong are collected, one file each, with none left without its message."""
    assert len(list(WRONG.glob("*.yaml"))) >= 20
    assert {path.stem for path in WRONG.glob("*.yaml")} == {path.stem for path in WRONG.glob("*.txt")}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "startls-block",
            "expected the name of a scenario or a file, got 'startls-block'; did you mean starttls-block?",
        ),
        ("xyz", "expected the name of a scenario or a file, got 'xyz'; `tamperlab list` shows the names"),
        ("no/such", "expected a file, got 'no/such', where there is none; check the path"),
        ("mine.yaml", "expected a file, got 'mine.yaml', where there is none; check the path"),
    ],
)
def test_load_missing_scenario_says_where_names_are_found(name: str, message: str) -> None:
    """A name that is not there is answered with the nearest that is, a path with itself."""
    with pytest.raises(ScenarioError) as error:
        load_scenario(name)
    assert str(error.value) == message
