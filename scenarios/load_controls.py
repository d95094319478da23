"""`controls:` of a scenario: the same play with one thing changed, after which every step works.

A control is made whole here: steps and expectations of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType

from lab.clients.registry import CLIENTS
from middlebox.reader import Reader, optional
from middlebox.yamlsource import Node, either
from scenarios.load_expect import read_expectations
from scenarios.load_steps import CHANGES, SMTP_PORT, Play, change_step
from scenarios.model import (
    SUCCESS,
    Control,
    Count,
    Expectation,
    ExpectEvents,
    ExpectOutcome,
    Item,
    Middlebox,
    Step,
    Together,
    Wait,
    steps_of,
)

OTHER_PORT = MappingProxyType({587: 25, 25: 587})
"""The port at which the same client has the same conversation; the control `other-port` without a port goes there."""


@dataclass(frozen=True, slots=True)
class Main:
    """What the scenario itself plays and wants seen, as its file says it. truth: of TRUTHS."""

    steps: tuple[Item, ...]
    expect: tuple[Expectation, ...]
    truth: str

    @property
    def genuine(self) -> bool:
        return self.truth == "genuine"

    def whole_expect(self, middlebox: Middlebox | None) -> tuple[Expectation, ...]:
        """With what its truth adds: if it is genuine, the box does nothing to any packet."""
        idle = ("packet_forged", "packet_dropped", "packet_rewritten") if self.genuine and middlebox else ()
        return (*self.expect, *(ExpectEvents(event, Count(0, 0, "0")) for event in idle))


def read_controls(
    reader: Reader,
    node: Node,
    play: Play,
    main: Main,
    read_box: Callable[[Node], Middlebox | None],
) -> tuple[Control, ...]:
    """All of `controls:`, each with its own steps and expectations. read_box: reads a `middlebox:`."""
    steps = main.steps
    found: list[Control] = []
    for entry in reader.items(node, "controls"):
        if isinstance(entry.value, str):
            word = reader.word(entry, ("no-middlebox", "other-port"))
            control = (
                _no_middlebox(main) if word == "no-middlebox" else _other_port(reader, entry, play, steps)
            )
        else:
            control = _explicit(reader, entry, play, steps, read_box)
        if control.name in [other.name for other in found]:
            reader.problem(
                entry, "each control once", "write {name: ...} to tell them apart", got=repr(control.name)
            )
        found.append(control)
    return tuple(found)


def _no_middlebox(main: Main) -> Control:
    without_waits = tuple(item for item in main.steps if not isinstance(item, Wait))
    if main.genuine:
        same = tuple(one for one in main.expect if not isinstance(one, ExpectEvents))
        return Control("no-middlebox", "without the box, the same happens", None, without_waits, same)
    steps = main.steps
    return Control(
        "no-middlebox", "without the box, every step works", None, without_waits, _all_succeed(steps)
    )


def _other_port(reader: Reader, node: Node, play: Play, steps: tuple[Item, ...]) -> Control:
    def moved(step: Step) -> Step:
        port = step.port or (CLIENTS[step.client].port if step.client in CLIENTS else 587)
        if port not in OTHER_PORT:
            then = "write {name: other-port, client: ..., port: ...}"
            reader.problem(
                node, f"steps on port {either(map(str, OTHER_PORT))}", then, got=f"{step.name} on {port}"
            )
        to = OTHER_PORT.get(port, port)
        return replace(step, port=to, login=to != SMTP_PORT)

    why = "past the same box, on a port that it leaves alone, every step works"
    return Control(
        "other-port", why, play.middlebox, _map_steps(steps, moved), _unharmed(steps, play.middlebox)
    )


def _explicit(
    reader: Reader,
    node: Node,
    play: Play,
    steps: tuple[Item, ...],
    read_box: Callable[[Node], Middlebox | None],
) -> Control:
    fields = reader.mapping(node, ("name",), ("why", "middlebox", "steps", "expect", *CHANGES))
    name = optional(fields, "name", lambda n: reader.text(n, "a control's name"), "")
    middlebox = optional(fields, "middlebox", read_box, play.middlebox)
    play = replace(play, middlebox=middlebox)
    names = [step.name for step in steps_of(steps)]
    changes: dict[str, dict[str, Node]] = {}
    if "steps" in fields:
        if "" in names and isinstance(
            fields["steps"].value, dict
        ):  # a step could not be read: any may be meant
            names = list(fields["steps"].value)
        for step, below in reader.mapping(fields["steps"], (), names or ("send",)).items():
            changes[step] = reader.mapping(below, (), CHANGES)

    def changed(step: Step) -> Step:
        step = change_step(reader, {key: fields[key] for key in CHANGES if key in fields}, step, play)
        return change_step(reader, changes.get(step.name, {}), step, play)

    items = _map_steps(steps, changed)
    if middlebox is None:
        items = tuple(item for item in items if not isinstance(item, Wait))
    expected = _unharmed(steps, middlebox)
    if "expect" in fields:
        expected = read_expectations(reader, fields["expect"], play, items)
    why = optional(
        fields, "why", lambda n: reader.text(n, "one line of text"), "with this change, every step works"
    )
    return Control(name, why, middlebox, items, expected)


def _map_steps(steps: tuple[Item, ...], change: Callable[[Step], Step]) -> tuple[Item, ...]:
    def mapped(item: Item) -> Item:
        if isinstance(item, Together):
            return Together(tuple(change(step) for step in item.steps))
        return change(item) if isinstance(item, Step) else item

    return tuple(mapped(item) for item in steps)


def _all_succeed(steps: Iterable[Item]) -> tuple[Expectation, ...]:
    return tuple(ExpectOutcome(step.name, (SUCCESS,)) for step in steps_of(tuple(steps)))


def _unharmed(steps: tuple[Item, ...], middlebox: Middlebox | None) -> tuple[Expectation, ...]:
    """Every step succeeds, and a box, where there is one, forged nothing."""
    silent = (ExpectEvents("packet_forged", Count(0, 0, "0")),) if middlebox is not None else ()
    return (*_all_succeed(steps), *silent)
