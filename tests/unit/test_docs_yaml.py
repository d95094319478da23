"""The examples in docs/profiles.md and docs/scenarios.md are executed."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from middlebox.load import load_deployment
from middlebox.profile import TcpReading
from scenarios.load import load_scenario

DOCS = Path(__file__).parents[2] / "docs"

RULE = "  - {name: a, when: tcp, do: [log]}\n"
HEAD = "profile: example\nplacement: on-path\n"


def blocks(document: str, language: str) -> list[str]:
    text = (DOCS / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def whole_file(block: str) -> str:
    """A block that is only a part of a profile, put where it belongs."""
    if block.startswith("- name:"):
        return HEAD.replace("on-path", "in-path") + "rules:\n" + indent(block, "  ")
    if block.startswith("look:"):
        return HEAD + "defaults:\n" + indent(block, "  ") + "rules:\n" + RULE
    return HEAD + block + "rules:\n" + RULE if block.startswith(("tcp:", "http:", "quic:")) else block


@pytest.mark.parametrize("block", blocks("profiles.md", "yaml"), ids=lambda block: block.split("\n")[0])
def test_docs_profile_example_loads(block: str, tmp_path: Path) -> None:
    """What the manual shows can be saved and used."""
    file = tmp_path / "mine.yaml"
    file.write_text(whole_file(block), encoding="utf-8")
    profiles = load_deployment(file).profiles()
    assert profiles
    assert all(profile.rules for profile in profiles)


def test_docs_tcp_example_has_the_defaults(tmp_path: Path) -> None:
    """The manual says that its values are those of a file that says nothing."""
    [block] = [block for block in blocks("profiles.md", "yaml") if block.startswith("tcp:")]
    file = tmp_path / "mine.yaml"
    file.write_text(whole_file(block), encoding="utf-8")
    [profile] = load_deployment(file).profiles()
    assert profile.tcp == TcpReading()


def test_docs_python_example_runs() -> None:
    """The manual's Python is right."""
    [code] = blocks("profiles.md", "python")
    made: dict[str, Any] = {}
    exec(compile(code, "docs/profiles.md", "exec"), made)
    assert made["profile"].name == "tmobile-uk-2012"


@pytest.mark.parametrize("block", blocks("scenarios.md", "yaml"), ids=lambda block: block.split("\n")[0])
def test_docs_scenario_example_loads(block: str, tmp_path: Path) -> None:
    """What the manual shows can be saved and used."""
    file = tmp_path / "scenario.yaml"
    file.write_text(block, encoding="utf-8")
    scenario = load_scenario(file)
    assert scenario.steps
    assert scenario.expect
