"""compile_filter: text in; two functions, needs, or an error with its place out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from middlebox.dissect import FieldSpec, FieldType
from middlebox.filters import FilterError, compile_filter
from middlebox.flow import Direction
from tests.unit.filter_kit import Flow, tcp

GUIDE = Path(__file__).parents[2] / "docs" / "filters.md"


def blocks(kind: str) -> list[str]:
    """The lines of the guide's code blocks of one kind."""
    found = re.findall(
        rf"^```{kind}\n(.*?)^```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    return [line for block in found for line in block.splitlines() if line.strip()]


def test_compiled_filter_knows_its_text_and_its_code() -> None:
    """What was written is kept for messages and events, what runs for whoever wonders."""
    compiled = compile_filter("tcp.dstport == 80")
    assert compiled.text == "tcp.dstport == 80"
    assert "p.dport == 80" in compiled.source


def test_fields_of_other_dissectors_can_be_given() -> None:
    """A protocol that is added needs no change here."""
    http = {"http.host": FieldSpec(FieldType.STRING, Direction.CLIENT_TO_SERVER, "Host header")}
    compiled = compile_filter('http.host == "web.example"', dissected=http)
    assert compiled.matches(tcp(b"x"), Flow(), {"http.host": ["web.example"]})
    assert compiled.needs.protocols == {"http"}
    with pytest.raises(FilterError):
        compile_filter("smtp.req.command", dissected=http)


def test_same_text_compiles_to_the_same_code() -> None:
    """Nothing of a filter depends on the run."""
    text = 'tcp.port in {80, 90..95} and tcp.payload matches "a" or smtp.req.command in {"A", "B"}'
    assert compile_filter(text).source == compile_filter(text).source


@pytest.mark.parametrize("text", blocks("wireshark"))
def test_example_of_the_guide_is_wiresharks_language(text: str) -> None:
    """What the guide shows as pasteable can be pasted."""
    assert compile_filter(text).needs.wireshark


@pytest.mark.parametrize("text", blocks("tamperlab"))
def test_example_of_the_guide_with_own_fields_loads(text: str) -> None:
    """What the guide shows as ours uses fields of ours."""
    assert not compile_filter(text).needs.wireshark


@pytest.mark.parametrize("line", blocks("text"))
def test_error_of_the_guide_is_what_a_user_sees(line: str) -> None:
    """`filter  ->  message`, word for word."""
    text, message = line.split("  ->  ")
    with pytest.raises(FilterError) as caught:
        compile_filter(text.strip())
    assert str(caught.value) == message.strip()
