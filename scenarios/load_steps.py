"""`steps:` of a scenario, and what steps, expectations and controls may refer to.

Names are checked against what there is: clients of `lab.clients`, hosts of the topology, names in the lab's DNS,
profiles and rules of the box.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from lab.clients.registry import CLIENTS
from lab.topology import Role
from middlebox.load import NOTHING
from middlebox.load_actions import NAME
from middlebox.profile import Profile
from middlebox.reader import Reader, optional
from middlebox.yamlsource import Node, either
from scenarios.load_ask import READERS, read_ask
from scenarios.load_script import read_fault, read_script
from scenarios.model import (
    SUBSCRIBER_DOMAIN,
    TARGETS,
    Item,
    Middlebox,
    Step,
    Together,
    Topology,
    Wait,
)
from scenarios.vocabulary import EVENTS

WAIT_TIMEOUT_NS = 10 * 10**9
"""How long a `wait:` waits unless it says otherwise (chosen)."""

SERVICE_PORTS: Mapping[str, frozenset[int]] = MappingProxyType(
    {
        "mail": frozenset({25, 465, 587}),
        "provider": frozenset({25, 465, 587}),
        "imap": frozenset({110, 143, 993, 995}),
        "web": frozenset({80, 443}),
        "ssh": frozenset({22}),
        "vpn": frozenset({443, 5000}),
        "ike": frozenset({500}),
        "l2tp": frozenset({17010}),
        "pptp": frozenset({1723}),
        "wireguard": frozenset({15820}),
        "dns": frozenset({53}),
        "quic": frozenset({443}),
        "peer": frozenset({443, 587, 7000}),
    }
)
"""Where the lab's services answer."""

SMTP_PORT = 25
"""Takes mail without a login (RFC 5321)."""

RAW = ("probe-packets", "probe-udp")
"""The clients that may stand outside and go to a subscriber: nobody need answer them."""

SCRIPTED = "tcp-script"
"""The client that has a `script:`."""

CHANGES = ("on", "client", "to", "port", "timeout", "login", "path", "trust", "script", *READERS)


_PATH = re.compile(r"/[!-~]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class Play:
    """What steps and expectations may refer to.

    profiles: by name, all that the scenario has named so far; grows while its controls are read
    families: IP versions that it is played over
    """

    topology: Topology
    services: Mapping[str, str]
    middlebox: Middlebox | None
    profiles: Mapping[str, Profile]
    families: tuple[int, ...] = (4, 6)

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
    def nodes(self) -> Mapping[Role, Sequence[str]]:
        """Names of the nodes where something can go wrong, by role."""
        t = self.topology
        routers = [f"access{i}" for i in range(1, t.hops_before_box + 1)]
        routers += [f"transit{i}" for i in range(1, t.hops_after_box + 1)]
        servers = [name for name in self.hosts if name not in self.subscribers]
        return {Role.ROUTER: routers, Role.SUBSCRIBER: self.subscribers, Role.SERVER: servers}

    @property
    def rules(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(rule.name for profile in self.profiles.values() for rule in profile.rules))


def read_steps(reader: Reader, node: Node, play: Play) -> tuple[Item, ...]:
    """All items of `steps:`. Names of steps are unique."""
    names: dict[str, int] = {}
    items: list[Item] = []
    for entry in reader.items(node, "steps", at_least=1):
        below = entry.value if isinstance(entry.value, dict) else {}
        if "wait" in below:
            items.append(_wait(reader, reader.mapping(entry, ("wait",))["wait"], play))
        elif "fault" in below:
            items.append(read_fault(reader, entry, play.nodes))
        elif "together" in below:
            together = reader.mapping(entry, ("together",))["together"]
            steps = reader.items(together, "steps", at_least=2)
            items.append(Together(tuple(_step(reader, step, play, names) for step in steps)))
        else:
            items.append(_step(reader, entry, play, names))
    return tuple(items)


def _step(reader: Reader, node: Node, play: Play, names: dict[str, int]) -> Step:
    fields = reader.mapping(node, ("on", "client"), ("as", *CHANGES[2:]))
    name_node = fields.get("as", fields.get("client", node))
    # Named by a client that there is not, it has no name that an expectation could mean.
    named = "as" in fields or name_node.value in CLIENTS
    step = Step(name=str(name_node.value) if named else "", on="", client="", to="mail.example")
    problems = len(reader.problems)
    step = change_step(reader, fields, step, play)
    if len(reader.problems) == problems:
        _check_served(reader, fields.get("to", fields.get("client", node)), step, play)
    if fields and (step.client == SCRIPTED) != ("script" in fields):
        got = "one" if "script" in fields else "none"
        reader.problem(
            node, f"a script with client: {SCRIPTED}, and only there", "add it or remove it", got=got
        )
    if "as" in fields and not (isinstance(fields["as"].value, str) and NAME.fullmatch(fields["as"].value)):
        reader.problem(fields["as"], "a step name of small letters, digits and -", "name what is tried: send")
    elif step.name in names:
        reader.problem(name_node, "a step name of its own", f"line {names[step.name]} has it, write as: NAME")
    if named:
        names.setdefault(step.name, name_node.line)
    return step


def change_step(reader: Reader, fields: Mapping[str, Node], step: Step, play: Play) -> Step:
    """The step with what these fields say; names checked."""
    may_be_on, may_go_to = play.subscribers, tuple(TARGETS)
    if (fields["client"].value if "client" in fields else step.client) in RAW:
        may_be_on = play.hosts
        may_go_to += tuple(f"{name}{SUBSCRIBER_DOMAIN}" for name in play.subscribers)
    port = optional(fields, "port", lambda n: reader.whole(n, 1, 65535, what="a port"), step.port)
    step = replace(
        step,
        on=optional(fields, "on", lambda n: reader.word(n, may_be_on), step.on),
        client=optional(fields, "client", lambda n: _client(reader, n, play), step.client),
        to=optional(fields, "to", lambda n: reader.word(n, may_go_to), step.to),
        port=port,
        timeout_ns=optional(fields, "timeout", lambda n: reader.duration_ns(n, at_least=1), step.timeout_ns),
        login=optional(fields, "login", reader.flag, step.login and port != SMTP_PORT),
        path=optional(fields, "path", lambda n: _path(reader, n), step.path),
        trust=optional(fields, "trust", reader.flag, step.trust),
        script=optional(fields, "script", lambda n: read_script(reader, n, play.nodes), step.script),
    )
    return replace(step, ask=read_ask(reader, fields, step.ask, step.client))


def _client(reader: Reader, node: Node, play: Play) -> str:
    name = reader.word(node, sorted(CLIENTS), what="a client of the lab")
    unknown = set(play.families) - set(CLIENTS[name].families) if name in CLIENTS else set()
    if unknown:
        got = f"{name}, which knows no IPv{min(unknown)}"
        reader.problem(node, "a client for every IP version of the scenario", "write family: ipv4", got=got)
    return name


def _path(reader: Reader, node: Node) -> str:
    if isinstance(node.value, str) and _PATH.fullmatch(node.value):
        return node.value
    reader.problem(node, "the path of a page, such as /private/", "begin it with /")
    return "/"


def _check_served(reader: Reader, node: Node, step: Step, play: Play) -> None:
    """Somebody must answer, unless the file says openly which port it wants."""
    if not step.client or step.port is not None or step.to not in TARGETS:
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
        word = reader.word(fields["profile"], [*play.profiles, NOTHING])
        where["profile"] = None if word == NOTHING else word
    if "rule" in fields and play.rules:
        where["rule"] = reader.word(fields["rule"], play.rules)
    if "subscriber" in fields:
        where["subscriber"] = reader.word(fields["subscriber"], play.subscribers)
    return Wait(
        event=optional(
            fields, "event", lambda n: reader.word(n, EVENTS, what="an event of the box"), EVENTS[0]
        ),
        where=MappingProxyType(where),
        timeout_ns=optional(fields, "timeout", lambda n: reader.duration_ns(n, at_least=1), WAIT_TIMEOUT_NS),
    )
