"""`expect:` of a scenario.

Names are checked against what there is: outcome words of `lab.clients`, rules of the profiles that the box has, steps
by their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from lab.clients.base import Outcome
from middlebox.reader import Reader, optional
from middlebox.yamlsource import Node, either
from scenarios.load_steps import Play
from scenarios.load_wire import read_wire
from scenarios.model import (
    SUCCESS,
    Count,
    Expectation,
    ExpectCapture,
    ExpectDelivered,
    ExpectEvents,
    ExpectNeverCrosses,
    ExpectOutcome,
    Item,
    steps_of,
)
from scenarios.vocabulary import CAPTURE_COUNTS, EVENTS, NEVER_CROSSES

_COUNT = re.compile(r"(>=|<=|)(\d{1,9})|(\d{1,9})\.\.(\d{1,9})", re.ASCII)


def read_expectations(
    reader: Reader, node: Node, play: Play, steps: tuple[Item, ...]
) -> tuple[Expectation, ...]:
    """All of `expect:`. An outcome is expected of every step, so that none fails unseen."""
    kinds: Mapping[str, Callable[[Node], Expectation]] = {
        "outcome": lambda n: _outcome(reader, n, names),
        "events": lambda n: _events(reader, n, play, names),
        "wire": lambda n: read_wire(
            reader,
            n,
            play.hosts,
            count=lambda c: read_count(reader, c),
            step=lambda fields: _step_name(reader, fields, names),
        ),
        "never_crosses": lambda n: _never_crosses(reader, n, play, names),
        "capture": lambda n: _capture(reader, n, play, names),
        "delivered": lambda n: _delivered(reader, n, play),
    }
    names = [step.name for step in steps_of(steps)]
    if "" in names:
        names = []
    found: list[Expectation] = []
    for entry in reader.items(node, "expectations", at_least=1):
        below = entry.value if isinstance(entry.value, dict) else {}
        kind = next((kind for kind in kinds if kind in below), None)
        if kind is not None:
            found.append(kinds[kind](entry))
        elif below:
            reader.mapping(entry, (), kinds)
        else:
            reader.problem(
                entry, f"an expectation with {either(kinds)}", "write {step: NAME, outcome: delivered}"
            )
    judged = {expectation.step for expectation in found if isinstance(expectation, ExpectOutcome)}
    missing = [name for name in names if name not in judged]
    if missing and isinstance(node.value, list):
        then = f"add {{step: {missing[0]}, outcome: ...}}"
        reader.problem(node, "an outcome for every step", then, got=f"none for {' and '.join(missing)}")
    return tuple(found)


def _outcome(reader: Reader, node: Node, names: list[str]) -> ExpectOutcome:
    fields = reader.mapping(node, ("step", "outcome"))
    words = [*(outcome.value for outcome in Outcome), SUCCESS]
    listed = reader.one_or_more(fields["outcome"], "outcomes")
    found = [reader.word(item, words, what="an outcome") for item in listed]
    return ExpectOutcome(_step_name(reader, fields, names) or "", tuple(dict.fromkeys(found)))


def _events(reader: Reader, node: Node, play: Play, names: list[str]) -> ExpectEvents:
    fields = reader.mapping(node, ("events",), ("rule", "towards", "profile", "step", "count"))
    if play.middlebox is None:
        reader.problem(node, "a middlebox that writes events", "remove it", got="middlebox: none")
    return ExpectEvents(
        event=reader.word(fields["events"], EVENTS, what="an event of the box"),
        count=optional(fields, "count", lambda n: read_count(reader, n), Count(1, None, ">=1")),
        rule=optional(fields, "rule", lambda n: reader.word(n, play.rules), None) if play.rules else None,
        towards=optional(fields, "towards", lambda n: reader.word(n, ("client", "server", "both")), None),
        profile=optional(fields, "profile", lambda n: reader.word(n, play.profiles), None)
        if play.profiles
        else None,
        step=_step_name(reader, fields, names),
    )


def _capture(reader: Reader, node: Node, play: Play, names: list[str]) -> ExpectCapture:
    fields = reader.mapping(node, ("capture",), ("step", *CAPTURE_COUNTS))
    counts = {key: read_count(reader, fields[key]) for key in CAPTURE_COUNTS if key in fields}
    if not counts:
        reader.problem(node, f"at least one of {either(CAPTURE_COUNTS)}", "add forged_rst: 0", got="none")
    return ExpectCapture(
        capture=reader.word(fields["capture"], ("client", "server", *play.hosts)),
        counts=MappingProxyType(counts),
        step=_step_name(reader, fields, names),
    )


def _never_crosses(reader: Reader, node: Node, play: Play, names: list[str]) -> ExpectNeverCrosses:
    fields = reader.mapping(node, ("never_crosses",), ("capture", "step"))
    listed = reader.one_or_more(fields["never_crosses"], "things")
    return ExpectNeverCrosses(
        what=tuple(reader.word(item, NEVER_CROSSES) for item in listed),
        capture=optional(
            fields, "capture", lambda n: reader.word(n, ("server", "client", *play.hosts)), "server"
        ),
        step=_step_name(reader, fields, names),
    )


def _delivered(reader: Reader, node: Node, play: Play) -> ExpectDelivered:
    fields = reader.mapping(node, ("delivered",), ("at",))
    servers = [name for name in ("mail", "provider") if name in play.services]
    at = reader.word(fields["at"], servers) if "at" in fields and servers else None
    return ExpectDelivered(read_count(reader, fields["delivered"]), at)


def _step_name(reader: Reader, fields: Mapping[str, Node], names: list[str]) -> str | None:
    # Where a step could not be read there is nothing to compare with, and the step's own problem is shown.
    return reader.word(fields["step"], names) if "step" in fields and names else None


def read_count(reader: Reader, node: Node) -> Count:
    """`3`, `">=1"`, `"<=2"`, `"1..3"`."""
    found = _COUNT.fullmatch(node.raw.replace(" ", ""))
    if found is None or isinstance(node.value, float | bool):
        reader.problem(node, 'a count such as 0, 3, ">=1", "<=2" or "1..3"', "write one of these")
        return Count(0, None, "")
    if found[3] is not None:
        return Count(int(found[3]), int(found[4]), node.raw)
    number = int(found[2])
    return {">=": Count(number, None, node.raw), "<=": Count(0, number, node.raw)}.get(
        found[1], Count(number, number, node.raw)
    )
