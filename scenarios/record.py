"""What happened in a run, as the runner found it: plays, steps, checks. Written as result.json, read by the report.

    Record            one `tamperlab run`
      World           the scenario itself, then each control: one box process (or none), one set of captures
        Play          the world's steps over one IP version
          StepRun     one client, what became of it, and its flows
          CheckResult an expectation, or one of the runner's own checks, with what was seen

Must never: decide anything. `scenarios.checks` judges, `scenarios.runner` does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from middlebox.community import community_id
from middlebox.events import PROTOCOL_NAMES
from middlebox.packet import PROTOCOL_TCP, SYN, Packet
from scenarios.detectors.two_ended import Finding
from scenarios.explanation import Disagreement
from scenarios.journeys import Event, Journey, community_id_of
from scenarios.model import Step

SCHEMA = 1
"""Of result.json."""

_PROTOCOLS = {name: number for number, name in PROTOCOL_NAMES.items()}

MAIN = "scenario"
"""Name of the world that is the scenario itself; every other world is a control."""


Ends = tuple[int, frozenset[tuple[bytes, int]]]
"""What all packets of a connection have in common, whichever way they go: protocol, and (address, port) of both."""


def ends_of(p: Packet) -> Ends:
    """The connection that a packet belongs to."""
    return p.protocol, frozenset(((p.src, p.sport), (p.dst, p.dport)))


@dataclass(frozen=True, slots=True)
class FlowEnds:
    """A connection or flow of datagrams, and the names of its hosts; addresses as bytes, protocol as IP numbers it."""

    client: bytes
    client_port: int
    server: bytes
    server_port: int
    client_host: str = "client"
    server_host: str = "server"
    protocol: int = PROTOCOL_TCP

    @property
    def community_id(self) -> str:
        return community_id(self.client, self.client_port, self.server, self.server_port, self.protocol)

    @property
    def ends(self) -> Ends:
        return self.protocol, frozenset(((self.client, self.client_port), (self.server, self.server_port)))

    def holds(self, p: Packet) -> bool:
        """Whether a packet is of this connection, either way."""
        if p.protocol != self.protocol:
            return False
        ends = (p.src, p.sport, p.dst, p.dport)
        there = (self.client, self.client_port, self.server, self.server_port)
        return ends == there or ends == there[2:] + there[:2]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FlowEnds:
        """What `as_json` made."""
        return cls(
            ip_address(data["client"]).packed, data["client_port"], ip_address(data["server"]).packed,
            data["server_port"], data["client_host"], data["server_host"], _PROTOCOLS[data["protocol"]],
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        return {
            "client": str(ip_address(self.client)), "client_port": self.client_port, "client_host": self.client_host,
            "server": str(ip_address(self.server)), "server_port": self.server_port, "server_host": self.server_host,
            "protocol": PROTOCOL_NAMES[self.protocol], "community_id": self.community_id,
        }  # fmt: skip

    def __str__(self) -> str:
        def end(address: bytes, port: int) -> str:
            text = str(ip_address(address))
            return f"[{text}]:{port}" if len(address) == 16 else f"{text}:{port}"

        return f"{end(self.client, self.client_port)} to {end(self.server, self.server_port)}"


@dataclass(slots=True)
class StepRun:
    """One client run. outcome: word of `lab.clients`; succeeded: counts as success for that client.

    started_ns, ended_ns: wall clock; server: address it was to reach; port: it was to go to
    ports: its own, if it told them
    """

    step: Step
    outcome: str
    succeeded: bool
    exit_status: int | None
    seconds: float
    started_ns: int
    ended_ns: int
    output: str
    command: str
    version: str
    client: bytes
    server: bytes
    server_host: str
    port: int
    ports: tuple[int, ...] = ()
    protocol: int = PROTOCOL_TCP
    flows: list[FlowEnds] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {
            "step": self.step.name, "on": self.step.on, "client": self.step.client, "to": self.step.to,
            "port": self.port,
            "outcome": self.outcome, "succeeded": self.succeeded, "exit_status": self.exit_status,
            "seconds": round(self.seconds, 3), "started_ns": self.started_ns, "version": self.version,
            "command": self.command, "output": self.output, "flows": [flow.as_json() for flow in self.flows],
            "ask": dict(self.step.ask),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Evidence:
    """Packets to look at: those of a flow that matter for a check. journeys empty: the whole flow."""

    flow: FlowEnds
    journeys: tuple[Journey, ...]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """expectation: in words; seen: in words, what was there instead or too; own: a check every run makes by itself."""

    expectation: str
    passed: bool
    seen: str
    evidence: tuple[Evidence, ...] = ()
    own: bool = False


@dataclass(slots=True)
class Play:
    """A world's steps over one IP version. delivered: host of each mail that reached a store."""

    family: int
    steps: list[StepRun] = field(default_factory=list)
    delivered: list[str] = field(default_factory=list)
    checks: list[CheckResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def flows(self) -> list[FlowEnds]:
        return [flow for run in self.steps for flow in run.flows]


@dataclass(slots=True)
class World:
    """One box (or none) and everything that was captured meanwhile.

    captures: folder of the pcapng files; events: what the box wrote, empty without one
    ended_ns: until then the box was there and the captures hold everything
    earlier: Community IDs of connections of the worlds before
    problems: why this world proves nothing, one line each; empty when it is valid
    genuine: the box has nothing to do here, and that is what the scenario is about
    """

    name: str
    why: str
    captures: Path
    with_box: bool
    plays: list[Play] = field(default_factory=list)
    events: Sequence[Event] = ()
    journeys: Sequence[Journey] = ()
    disagreements: Sequence[Disagreement] = ()
    findings: Sequence[Finding] = ()
    checks: list[CheckResult] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    box: dict[str, Any] = field(default_factory=dict)
    ended_ns: int = 1 << 63
    earlier: Collection[str] = ()
    genuine: bool = False

    @property
    def left_over(self) -> set[str]:
        """Community IDs of connections that go on from a world before: their beginning is in no capture here."""
        return set(self.earlier) - {community_id_of(j.packet) for j in self.journeys if j.packet.flags & SYN}

    @property
    def is_control(self) -> bool:
        return self.name != MAIN

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks) and all(play.passed for play in self.plays)


@dataclass(slots=True)
class Record:
    """A whole run.

    directory: runs/<run-id>; facts: of lab, services and programs; truth: of `scenarios.model.TRUTHS`
    """

    scenario: str
    purpose: str
    run_id: str
    directory: Path
    seed: int
    worlds: list[World] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    truth: str = "tampered"
    time_scale: float = 1.0

    @property
    def main(self) -> World:
        return self.worlds[0]

    @property
    def valid(self) -> bool:
        return not any(world.problems for world in self.worlds)

    @property
    def passed(self) -> bool:
        return all(world.passed for world in self.worlds)

    @property
    def exit_status(self) -> int:
        """0 as expected, 1 an expectation failed, 4 the run is invalid."""
        return 4 if not self.valid else 0 if self.passed else 1
