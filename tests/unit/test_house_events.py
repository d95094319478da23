"""docs/events.md says what events.jsonl holds: every kind, every key."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from middlebox import events
from middlebox.events import Event, FlowName, Trigger
from middlebox.flow import Direction
from middlebox.packet import PROTOCOL_TCP

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "events.md"
FLOW = FlowName(bytes([192, 0, 2, 11]), 40000, bytes([203, 0, 113, 25]), 587, PROTOCOL_TCP)
TRIGGER = Trigger(1, 2, 3, 4, "PA", 64, "00" * 8)
SAMPLES: Mapping[str, Any] = {
    "flow": FLOW, "direction": Direction.CLIENT_TO_SERVER, "trigger": TRIGGER, "packet": TRIGGER, "actions": ["reset"],
    "acted": True, "fields": {}, "key": ["inside_ip 192.0.2.11"],
}  # fmt: skip
KINDS_OF = {"residual_changed": ("residual_started", "residual_hit", "residual_ended")}
# What an edge puts into an event of its own: the function whose dictionary it is.
FREE_DETAILS = {
    "run_started": ("middlebox/__main__.py", "_start_facts"),
    "run_ended": ("middlebox/live.py", "figures"),
}


def documented() -> dict[str, list[str]]:
    """Kind -> its keys, as the page has them."""
    sections = re.split(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]
    return {
        kind: re.findall(r"^\| `(\w+)` \|", text, re.M)
        for kind, text in zip(*[iter(sections)] * 2, strict=True)
    }


def makers() -> dict[str, Callable[..., Event]]:
    """Kind -> the function that makes such an event."""
    functions = {
        name: function for name, function in inspect.getmembers(events, inspect.isfunction)
        if function.__module__ == events.__name__ and inspect.signature(function).return_annotation == "Event"
    }  # fmt: skip
    return {kind: function for name, function in functions.items() for kind in KINDS_OF.get(name, (name,))}


def sample(kind: str) -> Event:
    """An event of this kind, made by its function from sample values."""
    function = makers()[kind]
    arguments: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        stand_in: Any = {"int": 1, "bytes": bytes(4)}.get(str(parameter.annotation), "text")
        if str(parameter.annotation) != "bytes":
            stand_in = SAMPLES.get(parameter.name, stand_in)
        arguments[parameter.name] = kind if parameter.name == "kind" else stand_in
    return function(**arguments)


def table(heading: str) -> list[str]:
    """Keys of the table that follows these words in the introduction."""
    return re.findall(
        r"^\| `(\w+)` \|", PAGE.read_text(encoding="utf-8").split(heading)[1].split("\n\n")[1], re.M
    )


def test_events_page_has_every_kind_and_no_other() -> None:
    """A kind that the box writes is on the page, and the page invents none."""
    assert set(documented()) == set(makers())


@pytest.mark.parametrize("kind", [kind for kind in makers() if kind not in FREE_DETAILS])
def test_events_page_has_every_key_of_a_kind(kind: str) -> None:
    """The table under a kind's heading lists its keys, in their order."""
    assert documented()[kind] == list(sample(kind).details)


@pytest.mark.parametrize("kind", FREE_DETAILS)
def test_events_page_has_every_key_of_the_edges_events(kind: str) -> None:
    """How a run began and ended is described as it is written."""
    file, name = FREE_DETAILS[kind]
    functions = [n for n in ast.walk(ast.parse((ROOT / file).read_text())) if isinstance(n, ast.FunctionDef)]
    (function,) = [n for n in functions if n.name == name]
    first = next(n for n in ast.walk(function) if isinstance(n, ast.Dict))
    assert documented()[kind] == [ast.literal_eval(key) for key in first.keys if key is not None]


def test_events_page_has_what_every_event_begins_with() -> None:
    """Head, flow and identity of a packet are as the page says."""
    head = sample("flow_seen").as_json()
    assert table("Every event has") == [key for key in head if key != "flow"]
    assert table("and an event about a connection has `flow`:") == list(head["flow"])
    assert table("A packet is named by its **identity**") == list(TRIGGER.as_json())
