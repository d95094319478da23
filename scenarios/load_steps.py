"""`steps:`, `expect:` and `controls:` of a scenario.

Names are checked against what there is: clients and outcome words of `lab.clients`, rules of the profiles that the
scenario's box has, steps by their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from lab.clients.base import Outcome
from lab.clients.registry import CLIENTS
from middlebox.load import NOTHING
from middlebox.load_rules import NAME
from middlebox.profile import Profile
from middlebox.reader import Reader, optional
from middlebox.yamlsource import Node, either
from scenarios.model import (
    CAPTURE_COUNTS,
    EVENTS,
    NEVER_CROSSES,
    SUCCESS,
    TARGETS,
    Control,
    Count,
    Expectation,
    ExpectCapture,
    ExpectDelivered,
    ExpectEvents,
    ExpectNeverCrosses,
    ExpectOutcome,
    Item,
    Middlebox,
    Step,
    Together,
    Topology,
    Wait,
    steps_of,
)

WAIT_TIMEOUT_NS = 10 * 10**9
"""How long a `wait:` waits unless it says otherwise (chosen)."""

SERVICE_PORTS: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "mail": frozenset({25, 465, 587}),
        "provider": frozenset({25, 465, 587}),
        "imap": frozenset({143, 993}),
        "web": frozenset({80, 443}),
        "ssh": frozenset({22}),
    }
)
"""Where the lab's services answer."""

SMTP_PORT = 25

OTHER_PORT = MappingProxyType({587: 25, 25: 587})
"""The port at which the same client has the same conversation; the control `other-port` without a port goes there."""

MAX_COUNT = 10**9

_COUNT = re.compile(r"(>=|<=|)(\d{1,9})|(\d{1,9})\.\.(\d{1,9})", re.ASCII)
_CHANGES = ("on", "client", "to", "port", "timeout", "login")


@dataclass(frozen=True, slots=True)
class Play:
    """What steps and expectations may refer to. profiles: all that the box may have in force."""

    topology: Topology
    services: Mapping[str, str]
    middlebox: Middlebox | None
    profiles: tuple[Profile, ...]

    @property
    def subscribers(self) -> tuple[str, ...]:
        return tuple(f"sim{i}" for i in range(1, self.topology.subscribers + 1))

    @property
    def hosts(self) -> tuple[str, ...]:
        """Whose captures there will be."""
        servers = [
            host for host, services in TARGETS.values() if any(name in self.services for name in services)
        ]
        return (*self.subscribers, *servers)

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.name for profile in self.profiles for rule in profile.rules))


# --- steps ---------------------------------------------------------------------------------------------------------


def read_steps(reader: Reader, node: Node, play: Play) -> tuple[Item, ...]:
    """All items of `steps:`. Names of steps are unique."""
    names: dict[str, int] = {}
    items: list[Item] = []
    for entry in reader.items(node, "steps", at_least=1):
        below = entry.value if isinstance(entry.value, dict) else {}
        if "wait" in below:
            items.append(_wait(reader, reader.mapping(entry, ("wait",))["wait"], play))
        elif "together" in below:
            together = reader.mapping(entry, ("together",))["together"]
            steps = reader.items(together, "steps", at_least=2)
            items.append(Together(tuple(_step(reader, step, play, names) for step in steps)))
        else:
            items.append(_step(reader, entry, play, names))
    return tuple(items)


def _step(reader: Reader, node: Node, play: Play, names: dict[str, int]) -> Step:
    fields = reader.mapping(node, ("on", "client"), ("as", "to", "port", "timeout", "login"))
    name_node = fields.get("as", fields.get("client", node))
    step = Step(name=str(name_node.value), on="", client="", to="mail.example")
    step = _change(reader, fields, step, play)
    if "as" in fields and not (isinstance(fields["as"].value, str) and NAME.fullmatch(fields["as"].value)):
        reader.problem(fields["as"], "a step name of small letters, digits and -", "name what is tried: send")
    elif fields and step.name in names:
        reader.problem(name_node, "a step name of its own", f"line {names[step.name]} has it, write as: NAME")
    names.setdefault(step.name, name_node.line)
    _check_served(reader, fields.get("to", fields.get("client", node)), step, play)
    return step


def _change(reader: Reader, fields: Mapping[str, Node], step: Step, play: Play) -> Step:
    """The step with what these fields say; names checked."""
    port = optional(fields, "port", lambda n: reader.whole(n, 1, 65535, what="a port"), step.port)
    return replace(
        step,
        on=optional(fields, "on", lambda n: reader.word(n, play.subscribers), step.on),
        client=optional(fields, "client", lambda n: reader.word(n, sorted(CLIENTS)), step.client),
        to=optional(fields, "to", lambda n: reader.word(n, TARGETS), step.to),
        port=port,
        timeout_ns=optional(fields, "timeout", lambda n: reader.duration_ns(n, at_least=1), step.timeout_ns),
        login=optional(fields, "login", reader.flag, step.login and port != SMTP_PORT),
    )


def _check_served(reader: Reader, node: Node, step: Step, play: Play) -> None:
    """Somebody must answer, unless the file says openly which port it wants."""
    if step.client not in CLIENTS or step.port is not None:
        return
    port = CLIENTS[step.client].port
    could = TARGETS[step.to][1]
    if not any(port in SERVICE_PORTS[name] for name in could if name in play.services):
        would = [name for name in could if port in SERVICE_PORTS[name]]
        then = f"add {would[0]} to services:" if would else "write to: NAME of a host that answers that port"
        got = f"{step.to} with {either(sorted(play.services)).replace(' or ', ' and ')}"
        reader.problem(node, f"a server for {step.client}, which goes to port {port}", then, got=got)


def _wait(reader: Reader, node: Node, play: Play) -> Wait:
    fields = reader.mapping(node, ("event",), ("profile", "rule", "subscriber", "timeout"))
    if play.middlebox is None:
        reader.problem(
            node, "a middlebox whose events can be waited for", "remove the wait", got="middlebox: none"
        )
    where: dict[str, str | None] = {}
    if "profile" in fields:
        word = reader.word(fields["profile"], [*(p.name for p in play.profiles), NOTHING])
        where["profile"] = None if word == NOTHING else word
    if "rule" in fields and play.rules:
        where["rule"] = reader.word(fields["rule"], play.rules)
    if "subscriber" in fields:
        where["subscriber"] = reader.word(fields["subscriber"], play.subscribers)
    return Wait(
        event=optional(fields, "event", lambda n: reader.word(n, EVENTS), EVENTS[0]),
        where=MappingProxyType(where),
        timeout_ns=optional(fields, "timeout", lambda n: reader.duration_ns(n, at_least=1), WAIT_TIMEOUT_NS),
    )


# --- expectations --------------------------------------------------------------------------------------------------


def read_expectations(
    reader: Reader, node: Node, play: Play, steps: tuple[Item, ...]
) -> tuple[Expectation, ...]:
    """All of `expect:`. An outcome is expected of every step, so that none fails unseen."""
    kinds: Mapping[str, Callable[[Node], Expectation]] = {
        "outcome": lambda n: _outcome(reader, n, names),
        "events": lambda n: _events(reader, n, play, names),
        "never_crosses": lambda n: _never_crosses(reader, n, play, names),
        "capture": lambda n: _capture(reader, n, play, names),
        "delivered": lambda n: _delivered(reader, n, play),
    }
    names = [step.name for step in steps_of(steps)]
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
    words = [outcome.value for outcome in Outcome]
    found: list[str] = []
    if "outcome" in fields:
        listed = fields["outcome"]
        for item in (
            reader.items(listed, "outcomes", at_least=1) if isinstance(listed.value, list) else [listed]
        ):
            found.append(reader.word(item, [*words, SUCCESS]))
    return ExpectOutcome(_step_name(reader, fields, names) or "", tuple(dict.fromkeys(found)))


def _events(reader: Reader, node: Node, play: Play, names: list[str]) -> ExpectEvents:
    fields = reader.mapping(node, ("events",), ("rule", "towards", "profile", "step", "count"))
    if play.middlebox is None:
        reader.problem(node, "a middlebox that writes events", "remove it", got="middlebox: none")
    return ExpectEvents(
        event=reader.word(fields["events"], EVENTS),
        count=optional(fields, "count", lambda n: read_count(reader, n), Count(1, None, ">=1")),
        rule=optional(fields, "rule", lambda n: reader.word(n, play.rules), None) if play.rules else None,
        towards=optional(fields, "towards", lambda n: reader.word(n, ("client", "server", "both")), None),
        profile=optional(fields, "profile", lambda n: reader.word(n, [p.name for p in play.profiles]), None)
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
    listed = fields["never_crosses"]
    items = reader.items(listed, "things", at_least=1) if isinstance(listed.value, list) else [listed]
    return ExpectNeverCrosses(
        what=tuple(reader.word(item, NEVER_CROSSES) for item in items),
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
    # Without any step that could be read there is nothing to compare with, and the steps' own problem is shown.
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


# --- controls ------------------------------------------------------------------------------------------------------


def read_controls(
    reader: Reader,
    node: Node,
    play: Play,
    steps: tuple[Item, ...],
    read_box: Callable[[Node], Middlebox | None],
) -> tuple[Control, ...]:
    """All of `controls:`, each with its own steps and expectations. read_box: reads a `middlebox:`."""
    found: list[Control] = []
    for entry in reader.items(node, "controls"):
        if isinstance(entry.value, str):
            word = reader.word(entry, ("no-middlebox", "other-port"))
            control = (
                _no_middlebox(steps) if word == "no-middlebox" else _other_port(reader, entry, play, steps)
            )
        else:
            control = _explicit(reader, entry, play, steps, read_box)
        if control.name in [other.name for other in found]:
            reader.problem(
                entry, "each control once", "write {name: ...} to tell them apart", got=repr(control.name)
            )
        found.append(control)
    return tuple(found)


def _no_middlebox(steps: tuple[Item, ...]) -> Control:
    without_waits = tuple(item for item in steps if not isinstance(item, Wait))
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
    fields = reader.mapping(node, ("name",), ("why", "middlebox", "steps", "expect", *_CHANGES))
    name = optional(fields, "name", lambda n: reader.text(n, "a control's name"), "")
    middlebox = optional(fields, "middlebox", read_box, play.middlebox)
    play = replace(play, middlebox=middlebox)
    names = [step.name for step in steps_of(steps)]
    changes: dict[str, dict[str, Node]] = {}
    if "steps" in fields:
        for step, below in reader.mapping(fields["steps"], (), names or ("send",)).items():
            changes[step] = reader.mapping(below, (), _CHANGES)

    def changed(step: Step) -> Step:
        step = _change(reader, {key: fields[key] for key in _CHANGES if key in fields}, step, play)
        return _change(reader, changes.get(step.name, {}), step, play)

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
