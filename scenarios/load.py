"""Scenarios: YAML -> `scenarios.model.Scenario`, or a `ScenarioError` that shows everything wrong with the file.

The language is in docs/scenarios.md. Profiles that a scenario names are loaded too, so their mistakes are shown here
and not when the box starts.

Must never: return half a scenario, or start anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from middlebox.load import (
    MAX_QUOTA_BYTES,
    NOTHING,
    add_reference_problems,
    load_profile,
    profile_names,
    read_phases,
    read_time_scale,
)
from middlebox.load_actions import NAME
from middlebox.profile import Profile
from middlebox.reader import Reader, optional
from middlebox.sourcefile import is_file, is_something, no_file, read_source, shown_path
from middlebox.units import RATE_UNITS, parse_quantity
from middlebox.yamlsource import Node, Problem, ProfileError, ScenarioError, nearest
from scenarios.load_controls import Main, read_controls
from scenarios.load_expect import read_expectations
from scenarios.load_services import Settings, read_services
from scenarios.load_steps import Play, read_steps
from scenarios.model import (
    TRUTHS,
    Link,
    Links,
    Middlebox,
    PlannedPhase,
    Scenario,
    Topology,
)

SCENARIOS = Path(__file__).parent

MAX_SUBSCRIBERS = 64
"""Each is a host with processes of its own; more would test the machine, not the box (chosen)."""

MAX_HOPS = 16
"""Routers on one side of the box (chosen; the initial TTL of 64 must last)."""

FAMILIES: Mapping[str, tuple[int, ...]] = MappingProxyType({"both": (4, 6), "ipv4": (4,), "ipv6": (6,)})

_OPTIONAL = ("topology", "links", "services", "seed", "controls", "family", "truth", "time_scale")


def scenario_slugs() -> tuple[str, ...]:
    """The scenarios that come with the lab, sorted."""
    return tuple(sorted(path.parent.name for path in SCENARIOS.glob("*/scenario.yaml")))


def load_scenario(slug_or_path: str | Path) -> Scenario:
    """One scenario, by its slug, its folder or its file. ScenarioError: there is none, or something is wrong in it or
    in a profile that it names."""
    path = _find(str(slug_or_path))
    data = read_source(path, ScenarioError)
    reader, root = Reader.open(str(path), data, ScenarioError)
    scenario = _read_scenario(reader, root, path)
    reader.finish()
    return scenario


def _find(name: str) -> Path:
    slugs = scenario_slugs()
    path = Path(name)
    if "/" not in name and name in slugs:
        return SCENARIOS / name / "scenario.yaml"
    if is_file(path / "scenario.yaml"):
        return path / "scenario.yaml"
    if is_file(path):
        return path
    if "/" in name or path.suffix in (".yaml", ".yml") or is_something(path):
        message = no_file(path)
    else:
        hint = nearest(name, slugs) or "`tamperlab list` shows the names"
        message = f"expected the name of a scenario or a file, got {shown_path(name)}; {hint}"
    raise ScenarioError([Problem("", 0, 0, message)])


def _read_scenario(reader: Reader, root: Node, path: Path) -> Scenario:
    if isinstance(root.value, dict) and "profile" in root.value and "scenario" not in root.value:
        reader.problem(
            root,
            "a scenario",
            "write one with middlebox: {profile: THIS FILE}, see docs/scenarios.md",
            got="a profile",
        )
        reader.finish()
    required = ("scenario", "purpose", "middlebox", "steps", "expect")
    fields = reader.mapping(root, required, _OPTIONAL)
    slug = optional(fields, "scenario", lambda n: _slug(reader, n), "")
    topology = optional(fields, "topology", lambda n: _topology(reader, n), Topology())
    plain: tuple[Mapping[str, str], Settings] = (MappingProxyType({"mail": "embedded"}), MappingProxyType({}))
    services, settings = optional(fields, "services", lambda n: read_services(reader, n), plain)
    truth = optional(fields, "truth", lambda n: reader.word(n, TRUTHS), TRUTHS[0])
    time_scale = optional(fields, "time_scale", lambda n: read_time_scale(reader, n), 1.0)
    box = _BoxReader(reader, path, slug, topology, time_scale)
    middlebox = optional(fields, "middlebox", box.read, None)
    families = FAMILIES[optional(fields, "family", lambda n: reader.word(n, FAMILIES), "both")]
    play = Play(topology, services, middlebox, box.profiles, families)
    steps = optional(fields, "steps", lambda n: read_steps(reader, n, play), ())
    expect = optional(fields, "expect", lambda n: read_expectations(reader, n, play, steps), ())
    main = Main(steps, expect, truth)
    return Scenario(
        slug=slug,
        purpose=optional(fields, "purpose", lambda n: reader.text(n, "one line of text"), ""),
        topology=topology,
        links=optional(fields, "links", lambda n: _links(reader, n), Links()),
        middlebox=middlebox,
        services=services,
        seed=optional(fields, "seed", lambda n: reader.whole(n, 0, 2**63 - 1), 1),
        steps=steps,
        expect=main.whole_expect(middlebox),
        controls=optional(fields, "controls", lambda n: read_controls(reader, n, play, main, box.read), ()),
        families=families,
        path=str(path),
        truth=truth,
        settings=settings,
        time_scale=time_scale,
    )


def _slug(reader: Reader, node: Node) -> str:
    if isinstance(node.value, str) and NAME.fullmatch(node.value) and len(node.value) <= 80:
        return node.value
    reader.problem(
        node, "a scenario name of small letters, digits and -", "name it by what happens: starttls-block"
    )
    return ""


# --- the world -----------------------------------------------------------------------------------------------------


def _topology(reader: Reader, node: Node) -> Topology:
    fields = reader.mapping(node, (), ("kind", "subscribers", "hops_before_box", "hops_after_box"))
    plain = Topology()
    return Topology(
        kind=optional(fields, "kind", lambda n: reader.word(n, ("isp",)), plain.kind),
        subscribers=optional(
            fields, "subscribers", lambda n: reader.whole(n, 1, MAX_SUBSCRIBERS), plain.subscribers
        ),
        hops_before_box=optional(
            fields, "hops_before_box", lambda n: reader.whole(n, 1, MAX_HOPS), plain.hops_before_box
        ),
        hops_after_box=optional(
            fields, "hops_after_box", lambda n: reader.whole(n, 1, MAX_HOPS), plain.hops_after_box
        ),
    )


def _links(reader: Reader, node: Node) -> Links:
    found = reader.mapping(node, (), ("access", "transit", "server"))
    return Links(**{kind: _link(reader, link) for kind, link in found.items()})


def _link(reader: Reader, node: Node) -> Link:
    fields = reader.mapping(node, (), ("delay", "rate", "loss", "reorder"))
    delay_ns = optional(fields, "delay", reader.duration_ns, 0)
    if "reorder" in fields and not delay_ns:
        then = "add delay: 5ms, or what else a packet shall overtake"
        reader.problem(fields["reorder"], "reorder on a link with a delay", then, got="no delay")
    return Link(
        delay_ns=delay_ns,
        rate_bits=optional(fields, "rate", lambda n: _rate(reader, n), None),
        loss=optional(fields, "loss", lambda n: _part(reader, n, "lost packets"), 0.0),
        reorder=optional(fields, "reorder", lambda n: _part(reader, n, "packets that overtake others"), 0.0),
    )


def _rate(reader: Reader, node: Node) -> int:
    found = parse_quantity(node.raw, RATE_UNITS)
    if found is None or not 1000 <= found <= 100 * 10**9:
        reader.problem(
            node, "a rate from 1kbit to 100Gbit, such as 10Mbit", "write a number and bit, kbit, Mbit or Gbit"
        )
        return 1000
    return found


def _part(reader: Reader, node: Node, what: str) -> float:
    """`1%` or 0.01."""
    if isinstance(node.value, str) and node.value.endswith("%"):
        try:
            share = float(node.value[:-1]) / 100
        except ValueError:
            share = -1.0
        if 0 <= share <= 1:
            return share
    return reader.share(node, what=f"a share of {what}", then="3 % is written 3% or 0.03")


# --- the box -------------------------------------------------------------------------------------------------------


class _BoxReader:
    """Reads `middlebox:`, and remembers the profiles that it names."""

    def __init__(self, reader: Reader, path: Path, slug: str, topology: Topology, time_scale: float) -> None:
        self.reader = reader
        self.folder = path.parent
        self.slug = slug
        self.time_scale = time_scale
        self.hosts = [f"sim{i}" for i in range(1, topology.subscribers + 1)]
        self.profiles: dict[str, Profile] = {}
        self.named: set[str] = set()

    def read(self, node: Node) -> Middlebox | None:
        reader = self.reader
        if node.value == NOTHING:
            return None
        fields = reader.mapping(node, (), ("profile", "timeline", "subscribers", "fail"))
        if not fields:
            if node.value == {}:
                reader.problem(node, f"{NOTHING} or a profile", "write {profile: NAME}")
            return None
        self.named = set()
        timeline = self.timeline(node, fields)
        subscribers: dict[str, tuple[PlannedPhase, ...]] = {}
        quotas: dict[str, int] = {}
        if "subscribers" in fields:
            for host, below in reader.mapping(fields["subscribers"], (), self.hosts).items():
                keys = reader.mapping(below, (), ("profile", "timeline", "quota"))
                subscribers[host] = self.timeline(below, keys)
                if "quota" in keys:
                    quotas[host] = reader.size_bytes(keys["quota"], 1, MAX_QUOTA_BYTES)
        plain = len(timeline) == 1 and not subscribers and len(self.named) == 1
        return Middlebox(
            name=next(iter(self.named)) if plain else self.slug,
            timeline=timeline,
            subscribers=MappingProxyType(subscribers),
            fail=optional(fields, "fail", lambda n: reader.word(n, ("open", "closed")), "open"),
            time_scale=self.time_scale,
            quotas=MappingProxyType(quotas),
        )

    def timeline(self, node: Node, fields: dict[str, Node]) -> tuple[PlannedPhase, ...]:
        """What `profile:` or `timeline:` says."""
        reader = self.reader
        if ("profile" in fields) == ("timeline" in fields):
            got = "both" if "profile" in fields else "neither"
            reader.problem(
                node, "either profile or timeline", f"write profile: {NOTHING} to let all pass", got=got
            )
            return ()
        if "profile" in fields:
            return (PlannedPhase(0, self.profile(fields["profile"])),)
        phases = read_phases(reader, fields["timeline"], self.profile)
        return tuple(PlannedPhase(at_ns, profile) for at_ns, profile in phases)

    def profile(self, node: Node) -> str | None:
        """A shipped profile's name, the absolute path of another, None for `none`."""
        reader = self.reader
        name = reader.text(node, f"the name of a profile, or {NOTHING}")
        if name in ("", NOTHING):
            return None
        is_file = "/" in name or name.endswith((".yaml", ".yml"))
        path = self.folder / name
        try:
            profile = load_profile(path if is_file else name)
        except ProfileError as error:
            add_reference_problems(reader, node, error)
            return None
        self.profiles[profile.name] = profile
        self.named.add(profile.name)
        return name if name in profile_names() else str(path.resolve())
