"""What the pages show works: rules compile, profiles and scenarios load, commands and links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from middlebox.filters import compile_filter
from middlebox.load import load_deployment
from scenarios.load import load_scenario

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "scenarios").glob("*/README.md")]
NAMES = sorted(str(page.relative_to(ROOT)) for page in PAGES)


def blocks(language: str) -> Iterator[tuple[str, str]]:
    """Every fenced block of a language: where it begins, its text."""
    for name in NAMES:
        page = (ROOT / name).read_text(encoding="utf-8")
        for found in re.finditer(rf"^```{language}\n(.*?)^```$", page, re.M | re.S):
            yield f"{name}:{page.count(chr(10), 0, found.start()) + 1}", found[1]


def examples(first_key: str) -> list[object]:
    """The YAML blocks that begin with this key, one test each."""
    found = [(place, text) for place, text in blocks("yaml") if text.startswith(f"{first_key}:")]
    return [pytest.param(text, id=place) for place, text in found]


def commands() -> list[object]:
    """Every line that a reader is told to type, one test each."""
    lines = [
        (place, line)
        for place, text in blocks("console")
        for line in text.splitlines()
        if line.startswith("$ ")
    ]
    return [pytest.param(line[2:].split("#")[0].split(), id=f"{place} {line[2:40]}") for place, line in lines]


def targets() -> set[str]:
    return set(re.findall(r"^([a-z%-]+):", (ROOT / "Makefile").read_text(), re.M))


@pytest.mark.parametrize("text", examples("profile"))
def test_docs_profile_loads(text: str, tmp_path: Path) -> None:
    """A reader who copies a profile has a working box."""
    file = tmp_path / "example.yaml"
    file.write_text(text)
    assert load_deployment(str(file)).name == text.split()[1]


@pytest.mark.parametrize("text", examples("scenario"))
def test_docs_scenario_loads(text: str, tmp_path: Path) -> None:
    """A reader who copies a scenario has a working one."""
    folder = tmp_path / text.split()[1]
    folder.mkdir()
    (folder / "scenario.yaml").write_text(text)
    assert load_scenario(folder / "scenario.yaml").slug == folder.name


@pytest.mark.parametrize(
    "rule", [pytest.param(text.strip(), id=place) for place, text in blocks("(?:wireshark|tamperlab)")]
)
def test_docs_filter_compiles(rule: str) -> None:
    """A filter that a page shows is one that the box understands."""
    for line in rule.splitlines():
        assert compile_filter(line).text == line


@pytest.mark.parametrize("words", commands())
def test_docs_command_exists(words: list[str]) -> None:
    """What a page tells a reader to type is a make target, or a command of tamperlab with options that it has."""
    if words[0] == "make":
        for target in (word for word in words[1:] if "=" not in word):
            scenario = target.removeprefix("scenario-")
            assert target in targets() or (ROOT / "scenarios" / scenario / "scenario.yaml").is_file()
    elif words[0].endswith("tamperlab"):
        from typer.main import get_command

        from scenarios.cli import app

        command = get_command(app).commands[words[1]]  # type: ignore[attr-defined]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words[2:] if word.startswith("--")} <= known


@pytest.mark.parametrize("name", NAMES)
def test_docs_links_lead_somewhere(name: str) -> None:
    """A link to a file of this project names one."""
    page = ROOT / name
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_docs_readme_begins_with_the_two_commands_and_fits_a_screen() -> None:
    """What it is, then what to type, before anything else."""
    first_screen = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:16]
    typed = [line.split("#")[0].strip() for line in first_screen if line.startswith("    ")]
    assert typed == ["make scenario-starttls-block", "make test"]


def test_docs_list_every_scenario() -> None:
    """The tables of scenarios are complete."""
    tables = (ROOT / "scenarios" / "README.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z0-9-]+)` \|", tables, re.M))
    assert listed == {file.parent.name for file in (ROOT / "scenarios").glob("*/scenario.yaml")}
