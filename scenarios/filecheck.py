"""What `tamperlab check` says of a file: what is wrong with it, and which of its filters are not for Wireshark."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from middlebox.filters import CompiledFilter
from middlebox.load import load_deployment, load_profile
from middlebox.profile import Profile, Rule
from middlebox.sourcefile import is_file, read_source
from middlebox.yamlsource import Problem, ProfileError, ScenarioError
from scenarios.load import load_scenario
from scenarios.model import Scenario


@dataclass(frozen=True, slots=True)
class OwnWords:
    """A filter that cannot be pasted into Wireshark. filter: as `filters_of` names it; fields: those of our own."""

    profile: str
    filter: str
    fields: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.profile}/{self.filter}: {', '.join(self.fields)}"


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that was read. kind: `scenario` or `profile`; own: of a scenario, those of every box that it has."""

    file: str
    kind: str
    problems: tuple[Problem, ...] = ()
    own: tuple[OwnWords, ...] = ()

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "kind": self.kind,
            "good": not self.problems,
            "problems": [
                {"file": p.path or self.file, "line": p.line, "column": p.column, "text": p.text}
                for p in self.problems
            ],
            "not_for_wireshark": [
                {"profile": one.profile, "filter": one.filter, "fields": list(one.fields)} for one in self.own
            ],
        }


def check_file(file: Path) -> Checked:
    """Read a scenario, a profile or a deployment. Never raises what is the file's fault."""
    kind = "profile"
    try:
        words = read_source(file, ProfileError) if is_file(file) else b""
        is_scenario = any(line.startswith(b"scenario:") for line in words.splitlines())
        if is_scenario or is_file(file / "scenario.yaml"):
            kind = "scenario"
        profiles = boxes_of(load_scenario(file)) if kind == "scenario" else load_deployment(file).profiles()
    except (ProfileError, ScenarioError) as error:
        return Checked(str(file), kind, error.problems)
    return Checked(str(file), kind, own=tuple(own_words(profiles)))


def boxes_of(scenario: Scenario) -> tuple[Profile, ...]:
    """The profiles of every box that a scenario plays with, its controls' among them, once each."""
    boxes = [scenario.middlebox, *(control.middlebox for control in scenario.controls)]
    timelines = [t for box in boxes if box for t in (box.timeline, *box.subscribers.values())]
    names = dict.fromkeys(phase.profile for timeline in timelines for phase in timeline)
    return tuple(load_profile(name) for name in names if name is not None)


def filters_of(rule: Rule) -> Iterator[tuple[str, CompiledFilter]]:
    """A rule's own filter and those of its residual's cases, each by the name under which people find it."""
    yield rule.name, rule.when
    for number, case in enumerate(rule.residual.cases if rule.residual else (), 1):
        yield f"{rule.name}, case {number} of its residual", case.when


def own_words(profiles: Iterable[Profile]) -> Iterator[OwnWords]:
    """The filters, of rules and of their residuals' cases, that read fields of our own."""
    for profile in profiles:
        for rule in profile.rules:
            for name, when in filters_of(rule):
                if not when.needs.wireshark:
                    yield OwnWords(profile.name, name, tuple(sorted(when.needs.own)))
