"""Plays a scenario: builds the lab, starts servers, captures and box, runs the steps, judges, and writes it all down.

    plan ─► Lab ─► servers ─► for each world: captures + box ─► steps, IPv4 and IPv6 side by side ─► quiet ─► stop
                                                     └────────► read captures ─► journeys ─► checks ─► comments

The scenario comes first, then its controls, each with a box process of its own (or none) and its own captures; network
and servers are shared, as they know nothing of the box. Everything waits for conditions, nothing for time to pass.

Must be called in a sandbox (`lab.sandbox.enter`). Must never: retry a step, or count a world in which the box failed.
"""

from __future__ import annotations

import platform
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path

from lab.capture import CapturePoint, Captures
from lab.clients.registry import CLIENTS
from lab.faults import speechless, start as start_fault
from lab.lab import Lab
from lab.link import LinkSpec
from lab.topology import SUBSCRIBERS_V4, SUBSCRIBERS_V6, IspTopology
from middlebox.packet import PROTOCOL_TCP, PROTOCOL_UDP
from scenarios import journeys as journey_map
from scenarios.boxfile import deployment_yaml
from scenarios.boxprocess import BoxProcess, read_events
from scenarios.cast import Cast, server_hosts, start_cast
from scenarios.checks import SUCCESSES
from scenarios.journeys import Journey
from scenarios.judge import judge
from scenarios.model import (
    Expectation,
    Fault,
    Item,
    Link,
    Middlebox,
    Scenario,
    Step,
    Together,
    Wait,
    host_of,
    steps_of,
)
from scenarios.record import MAIN, Play, Record, StepRun, World

Progress = Callable[[str], None]
"""Is told, in a few words, what is being done."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A world to be played: the scenario itself or a control."""

    name: str
    why: str
    middlebox: Middlebox | None
    steps: tuple[Item, ...]
    expect: tuple[Expectation, ...]

    @property
    def captures(self) -> str:
        """Folder of its captures, below the run's."""
        return "captures" if self.name == MAIN else f"captures/control-{self.name}"

    def file(self, stem: str, ending: str) -> str:
        """Name of one of its files: `events.jsonl`, `control-no-middlebox-events.jsonl`."""
        return f"{stem}.{ending}" if self.name == MAIN else f"control-{self.name}-{stem}.{ending}"


def plans(scenario: Scenario, *, controls: bool = True) -> list[Plan]:
    """The scenario, then its controls."""
    main = Plan(MAIN, scenario.purpose, scenario.middlebox, scenario.steps, scenario.expect)
    rest = [Plan(c.name, c.why, c.middlebox, c.steps, c.expect) for c in scenario.controls]
    return [main, *(rest if controls else [])]


def play(scenario: Scenario, directory: Path, *, controls: bool, progress: Progress) -> Record:
    """Play a scenario and its controls and judge them. directory: the run's, new and empty.

    LabError: the machine is not ready. result.json is written by the caller.
    """
    began = time.monotonic()
    record = Record(
        scenario.slug,
        scenario.purpose,
        directory.name,
        directory,
        scenario.seed,
        truth=scenario.truth,
        time_scale=scenario.time_scale,
    )
    progress("building the network")
    with opened_stage(scenario, directory) as stage:
        for plan in plans(scenario, controls=controls):
            progress("running the steps" if plan.name == MAIN else f"running the control {plan.name}")
            with stage.running(plan) as running:
                running.play()
            record.worlds.append(running.world)
        record.facts = stage.facts()
    record.seconds = time.monotonic() - began
    return record


@contextmanager
def opened_stage(scenario: Scenario, directory: Path) -> Iterator[Stage]:
    """The scenario's network with its servers, up until the end of the `with` block. LabError as in `play`."""
    with ExitStack() as stack:
        lab = stack.enter_context(build_lab(scenario, directory))
        cast = start_cast(scenario, lab, directory / "services")
        stack.callback(cast.stop)
        for name, ports in named_ports(scenario).items():
            lab.hosts[name].reserve_ports(ports)
        yield Stage(scenario, lab, cast, directory, stack)


def named_ports(scenario: Scenario) -> dict[str, list[range]]:
    """Host -> the client's ports that its steps ask for. Another connection that had one would be taken for theirs."""
    ports: dict[str, list[range]] = defaultdict(list)
    for steps in (scenario.steps, *(control.steps for control in scenario.controls)):
        for step in steps_of(steps):
            if first := step.ask.get("source_port"):
                ports[step.on].append(range(first, first + step.ask.get("connections", 1)))
    return dict(ports)


def build_lab(scenario: Scenario, directory: Path) -> Lab:
    """The scenario's network, not yet up."""
    t = scenario.topology
    topology = IspTopology(
        subscribers=t.subscribers, hops_before_box=t.hops_before_box, hops_after_box=t.hops_after_box,
        servers=server_hosts(scenario),
    )  # fmt: skip
    links = {kind: link_spec(getattr(scenario.links, kind)) for kind in ("access", "transit", "server")}
    return Lab(topology, run_dir=directory, links=links, seed=scenario.seed)


def link_spec(link: Link) -> LinkSpec:
    return LinkSpec(delay_ns=link.delay_ns, rate_bits=link.rate_bits, loss=link.loss, reorder=link.reorder)


class Stage:
    """A lab with its servers, on which one world after the other is played."""

    def __init__(self, scenario: Scenario, lab: Lab, cast: Cast, directory: Path, stack: ExitStack) -> None:
        self._scenario = scenario
        self.lab = lab
        self._cast = cast
        self._directory = directory
        self._stack = stack
        self._earlier: set[str] = set()
        addresses = {name: (host.ipv4, host.ipv6) for name, host in lab.hosts.items()}
        self._addresses: Mapping[str, tuple[str, str]] = addresses
        unheard = () if "dns" in scenario.services else ("dns",)
        servers = [name for name in lab.topology.servers if name not in unheard]
        ends = [*lab.topology.subscribers, *servers]
        self._ends: Sequence[str] = ends
        networks = (ip_network(SUBSCRIBERS_V4), ip_network(SUBSCRIBERS_V6))
        self._view = journey_map.World(
            hosts={ip_address(address).packed: name for name in ends for address in addresses[name]},
            inside=cache(lambda address: any(ip_address(address) in network for network in networks)),
            box=frozenset(
                ip_address(address).packed
                for end in lab.topology.nodes["box"].ends
                for address in (end.ipv4, end.ipv6)
            ),
            may_get_lost=self._may_get_lost,
        )

    def _may_get_lost(self, journey: Journey) -> bool:
        """Whether a packet that has left the box need not arrive: the links lose some, or its TTL is too low."""
        place = journey.places[2]
        topology = self._scenario.topology
        hops = topology.hops_before_box if place == journey_map.BOX_INSIDE else topology.hops_after_box
        return self.loses or journey.seen[place].packet.ttl <= hops

    @property
    def loses(self) -> bool:
        """Whether a link of the network loses packets."""
        links = self._scenario.links
        return any(link.loss for link in (links.access, links.transit, links.server))

    @property
    def families(self) -> tuple[int, ...]:
        return self._scenario.families

    def facts(self) -> dict[str, object]:
        """What the run was made with."""
        return {
            "lab": self.lab.facts,
            "services": self._cast.facts(),
            "python": platform.python_version(),
            "machine": platform.platform(),
        }

    @contextmanager
    def running(self, plan: Plan) -> Iterator[Running]:
        """Captures and box of one world, from ready to judged."""
        captures = self._start_captures(plan)
        box = self._start_box(plan)
        self._cast.wait_ready()
        captures.wait_ready()
        if box is not None:
            box.wait_ready()
        world = World(
            plan.name,
            plan.why,
            self._directory / plan.captures,
            box is not None,
            earlier=frozenset(self._earlier),
            genuine=self._scenario.truth == "genuine",
        )
        with ExitStack() as faults:
            running = Running(self, plan, box, world, faults)
            yield running
            self._cast.wait_until_delivered()
            self.lab.wait_until_quiet()
            status = None
            with self._connections_ended() if running.unfinished else nullcontext():
                world.ended_ns = time.time_ns()
                if box is not None:
                    status = box.stop()
                    world.box = {"status": status, **box.ready}
                    world.events = read_events(box.events)
                for name, count in captures.stop().items():
                    if count.dropped:
                        world.problems.append(f"the capture of {name} missed {count.dropped} packets")
        delivered = self._cast.delivered(plan.name)
        for play in world.plays:
            play.delivered = delivered.get(play.family, [])
            world.problems += play.problems
        judge(world, plan.expect, captures.paths, self._view, box_status=status)
        self._earlier |= {journey_map.community_id_of(journey.packet) for journey in world.journeys}

    @contextmanager
    def _connections_ended(self) -> Iterator[None]:
        """Nobody sends any more, nor knows of a connection afterwards: the next world begins with a clean slate."""
        with speechless([self.lab.hosts[name] for name in self._ends]):
            self.lab.wait_until_quiet()
            yield

    def _start_captures(self, plan: Plan) -> Captures:
        directory = self._directory / plan.captures
        directory.mkdir(parents=True, exist_ok=True)
        box = self.lab.box
        places = {
            name: (self.lab.hosts[name].pid, self.lab.hosts[name].interface) for name in self._ends
        } | {
            journey_map.BOX_INSIDE: (box.pid, box.inside_interface),
            journey_map.BOX_OUTSIDE: (box.pid, box.outside_interface),
        }  # fmt: skip
        points = [
            CapturePoint(name, pid, interface, directory / f"{name}.pcapng")
            for name, (pid, interface) in places.items()
        ]
        captures = Captures(points, config_path=self._directory / "network" / plan.file("captures", "json"))
        self._stack.callback(captures.end)
        return captures

    def _start_box(self, plan: Plan) -> BoxProcess | None:
        if plan.middlebox is None:
            return None
        file = self._directory / plan.file("box", "yaml")
        file.write_text(deployment_yaml(plan.middlebox, self._addresses))
        return BoxProcess(
            self.lab.box, file, self._directory / plan.file("events", "jsonl"),
            self._directory / plan.file("box", "log"), seed=self._scenario.seed, fail=plan.middlebox.fail,
        )  # fmt: skip

    def run_step(
        self, step: Step, plan: Plan, family: int, directory: Path, on_fault: Callable[[Fault], None]
    ) -> StepRun:
        """Run one client to its end; its flows are found later, in the captures."""
        client = CLIENTS[step.client]
        server_host = host_of(step.to)
        target = self._cast.target(
            step, family=family, world=plan.name, directory=directory, on_fault=on_fault
        )
        started_ns = time.time_ns()
        result = client.run(self.lab.hosts[step.on], target)
        which = 0 if family == 4 else 1
        return StepRun(
            step=step, outcome=str(result.outcome), succeeded=str(result.outcome) in SUCCESSES,
            exit_status=result.exit_status, seconds=result.seconds, started_ns=started_ns, ended_ns=time.time_ns(),
            output=result.output, command=result.command, version=result.version,
            client=ip_address(self._addresses[step.on][which]).packed,
            server=ip_address(self._addresses[server_host][which]).packed,
            server_host=server_host, port=step.port or client.port, ports=result.ports,
            protocol=PROTOCOL_UDP if client.transport == "udp" else PROTOCOL_TCP,
        )  # fmt: skip

    def clients_directory(self, plan: Plan, family: int) -> Path:
        """A new folder for the files of a play's clients."""
        directory = self._directory / "clients" / plan.name / f"ipv{family}"
        directory.mkdir(parents=True)
        return directory


class Running:
    """A world whose captures and box are running."""

    def __init__(
        self, stage: Stage, plan: Plan, box: BoxProcess | None, world: World, faults: ExitStack
    ) -> None:
        self._stage = stage
        self._plan = plan
        self._box = box
        self._faults = faults
        self._has_faults = False
        self.world = world

    @property
    def unfinished(self) -> bool:
        """Whether connections may be left whose ends still send, again and again."""
        runs = (run for play in self.world.plays for run in play.steps)
        # A client is done when it has its answer; where a FIN was lost, both ends are not.
        return self._has_faults or self._stage.loses or any(run.outcome == "timeout" for run in runs)

    def go_wrong(self, fault: Fault, family: int) -> None:
        """Make a fault happen; it lasts until the world's captures have ended."""
        self._stage.lab.wait_until_quiet()  # what is under way arrives, so that all know where they stand
        self._has_faults = True
        self._faults.callback(start_fault(fault.kind, self._stage.lab.hosts[fault.on], family))

    def play(self) -> None:
        """Run the world's steps over each of its IP versions, side by side."""
        families = self._stage.families
        pool = ThreadPoolExecutor(len(families))
        try:
            self.world.plays = list(pool.map(self._play_family, families))
        finally:
            # After an interrupt nobody waits for the clients: they end with the lab.
            pool.shutdown(wait=False, cancel_futures=True)

    def _play_family(self, family: int) -> Play:
        play = Play(family)
        directory = self._stage.clients_directory(self._plan, family)
        seen_events = 0

        def run(step: Step) -> StepRun:
            return self._stage.run_step(
                step, self._plan, family, directory, lambda fault: self.go_wrong(fault, family)
            )

        for item in self._plan.steps:
            match item:
                case Step():
                    play.steps.append(run(item))
                case Fault():
                    self.go_wrong(item, family)
                case Together(steps=steps):
                    with ThreadPoolExecutor(len(steps)) as pool:
                        play.steps += pool.map(run, steps)
                case Wait() if self._box is not None:
                    timeout_s = item.timeout_ns / 1e9
                    found = self._box.wait_for_event(
                        item.event, item.where, timeout_s=timeout_s, after=seen_events, family=family
                    )
                    if found is None:
                        where = ", ".join(f"{key}={value}" for key, value in item.where.items())
                        play.problems.append(
                            f"waited {timeout_s:g} s for {item.event} {where} over IPv{family}, it never came"
                        )
                        break
                    seen_events = found
        return play


def tidy(directory: Path) -> None:
    """Remove what nobody looks at after a run that went as expected: clients' homes, the network's scripts, keys."""
    for name in ("clients", "network", "etc", "services/pki"):
        shutil.rmtree(directory / name, ignore_errors=True)
