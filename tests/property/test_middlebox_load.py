"""Whatever is in a file: a whole profile or scenario, or an error that shows its place."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from middlebox.load import PROFILES, load_deployment
from middlebox.yamlsource import ProfileError, ScenarioError, SourceError
from scenarios.load import SCENARIOS, load_scenario

PROFILE = (PROFILES / "tmobile-uk-2012.yaml").read_text(encoding="utf-8")
SCENARIO = (SCENARIOS / "two-sims" / "scenario.yaml").read_text(encoding="utf-8")

PIECES = st.sampled_from(
    ["", "[", "]", "{", "}", ":", "- ", "\n", "\t", "'", '"', "#", "&a ", "*a", "!!int ", "|", ">", "9" * 30, "-1",
     "0.5", "true", "none", "random", "{range: [1, 2]}", "{value: 1, source: cardwell}", "source: x", "é", "\\x", "  "]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """The text with some spans replaced."""
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        text = text[:start] + draw(PIECES) + text[end:]
    return text


def fate(data: bytes, load: Callable[[Path], object], kind: type[SourceError]) -> str:
    """What becomes of a file: it loads, or every problem has a place inside it. Anything else raised fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mine.yaml"
        file.write_bytes(data)
        try:
            load(file)
        except kind as error:
            problems = error.problems
        else:
            return "loads"
    lines = data.count(b"\n") + 1
    misplaced = [p for p in problems if not (p.column >= 1 and 1 <= p.line <= lines)]
    return "refused with a place" if problems and not misplaced else f"refused: {misplaced}"


WHOLE_OR_AN_ERROR = ("loads", "refused with a place")


@given(damaged(PROFILE))
def test_load_damaged_profile_is_whole_or_an_error(text: str) -> None:
    """A profile with a slip of the keyboard anywhere never raises anything but a ProfileError inside the file."""
    assert fate(text.encode(), load_deployment, ProfileError) in WHOLE_OR_AN_ERROR


@given(damaged(SCENARIO))
def test_load_damaged_scenario_is_whole_or_an_error(text: str) -> None:
    """A scenario with a slip of the keyboard anywhere never raises anything but a ScenarioError inside the file."""
    assert fate(text.encode(), load_scenario, ScenarioError) in WHOLE_OR_AN_ERROR


@given(st.binary(max_size=200))
def test_load_any_bytes_is_an_error_with_a_place(data: bytes) -> None:
    """Files that are no YAML, no text or no profile are refused in the same way as the others."""
    assert fate(data, load_deployment, ProfileError) == "refused with a place"


@pytest.mark.deep
@given(st.one_of(damaged(PROFILE), damaged(PROFILE.replace("chosen", "cardwell"))))
def test_load_damaged_profile_many_times(text: str) -> None:
    """As above, with as many examples as `make test-deep` draws."""
    assert fate(text.encode(), load_deployment, ProfileError) in WHOLE_OR_AN_ERROR
