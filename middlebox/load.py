"""Profiles and deployments: YAML -> `middlebox.profile`, or a `ProfileError` that shows everything wrong with the file.

A *profile* is one middlebox: rules, and how it reads TCP. A *deployment* says whom which profile applies to, and when;
a plain profile is the deployment of one phase at 0. Both are files of the same language (docs/profiles.md), named by
a word (`tmobile-uk-2012`, one of `profiles/`) or by a path.

Must never: return half a profile. A file with any problem gives a ProfileError.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

from middlebox.dissect import HttpReading, QuicReading
from middlebox.load_actions import read_name
from middlebox.load_look import Fields, look_fields
from middlebox.load_rules import read_http, read_quic, read_rules, read_tcp
from middlebox.load_sources import ProfileReader, resolve_sources
from middlebox.profile import (
    CHOSEN,
    Deployment,
    Phase,
    Placement,
    Profile,
    Source,
    Subscriber,
    TcpReading,
    Timeline,
)
from middlebox.reader import Reader, optional
from middlebox.sourcefile import is_file, is_something, no_file, read_source, shown_path
from middlebox.timescale import scaled
from middlebox.yamlsource import Node, Problem, ProfileError, nearest

PROFILES = Path(__file__).with_name("profiles")

MAX_QUOTA_BYTES = 10**15
"""More than anybody's month (chosen)."""

NOTHING = "none"
"""What a timeline writes for "everything passes"."""

TEXT_PROTOCOLS = ("smtp", "imap", "pop")
"""Whose ports `ports:` can change; TLS is found on any port."""

_OPTIONAL_KEYS = ("title", "source", "sources", "ports", "tcp", "http", "quic", "defaults")
_DEPLOYMENT_KEYS = ("timeline", "subscribers", "time_scale")

Network = IPv4Network | IPv6Network

T = TypeVar("T")


def profile_names() -> tuple[str, ...]:
    """The shipped profiles, sorted."""
    return tuple(sorted(path.stem for path in PROFILES.glob("*.yaml")))


def load_profile(name_or_path: str | Path) -> Profile:
    """One profile. ProfileError: no such profile, or something is wrong in its file."""
    return _Files().profile(_find(str(name_or_path), Path()))


def load_deployment(name_or_path: str | Path) -> Deployment:
    """A deployment, or a profile as the deployment of one phase at 0. ProfileError as in `load_profile`, also for
    problems in the profiles it names."""
    return _Files().deployment(_find(str(name_or_path), Path()))


def unsourced_values(name_or_path: str | Path) -> tuple[str, ...]:
    """`path:line: rules.0.probability` for every value about the real system that names no source. They count as
    `chosen`; a profile that is meant for others should say so itself."""
    files = _Files()
    path = _find(str(name_or_path), Path())
    files.profile(path)
    reader = files.readers[path.resolve()]
    return tuple(
        f"{path}:{reader.lines[value]}: {value}" for value, key in reader.cited.items() if key is None
    )


def _find(name: str, beside: Path) -> Path:
    """The file of a name or path; a relative path counts from the folder `beside`. ProfileError when there is none."""
    path = beside / name
    if "/" not in name and path.suffix not in (".yaml", ".yml"):
        for candidate in (PROFILES / f"{name}.yaml", beside / f"{name}.yaml", path):
            if is_file(candidate):
                return candidate
        if not is_something(path):
            hint = nearest(name, profile_names()) or "`tamperlab profiles` lists the names"
            text = f"expected the name of a profile or a file, got {shown_path(name)}; {hint}"
            raise ProfileError([Problem("", 0, 0, text)])
    if is_file(path):
        return path
    guess = "" if path.suffix else nearest(path.name, profile_names())
    hint = guess.replace("did you mean", "did you mean the profile") or "check the path"
    raise ProfileError([Problem("", 0, 0, no_file(path, hint))])


class _Files:
    """Loads files, each once: a profile named twice is one object."""

    def __init__(self) -> None:
        self.profiles: dict[Path, Profile] = {}
        self.readers: dict[Path, ProfileReader] = {}

    def open(self, path: Path) -> tuple[ProfileReader, Node]:
        data = read_source(path, ProfileError)
        reader, root = ProfileReader.open(str(path), data, ProfileError)
        self.readers[path.resolve()] = reader
        return reader, root

    def profile(self, path: Path) -> Profile:
        """The profile of a file that has nothing but a profile."""
        resolved = path.resolve()
        if resolved not in self.profiles:
            reader, root = self.open(path)
            if _has(root, "deployment", *_DEPLOYMENT_KEYS):
                reader.problem(
                    root, "a plain profile", "name the profiles it consists of", got="a deployment"
                )
                reader.finish()
            profile = read_profile(reader, root)
            reader.finish()
            self.profiles[resolved] = profile
        return self.profiles[resolved]

    def deployment(self, path: Path) -> Deployment:
        reader, root = self.open(path)
        if not _has(root, "deployment", *_DEPLOYMENT_KEYS):
            profile = read_profile(reader, root)
            reader.finish()
            return Deployment(profile.name, (Phase(0, profile),))
        deployment = _DeploymentReader(self, reader, path).read(root)
        reader.finish()
        return deployment


def _has(node: Node, *keys: str) -> bool:
    return isinstance(node.value, dict) and any(key in node.value for key in keys)


# --- one profile ---------------------------------------------------------------------------------------------------


def read_profile(reader: ProfileReader, root: Node, extra_keys: tuple[str, ...] = ()) -> Profile:
    """The profile in a file. extra_keys: of a deployment, read elsewhere."""
    if _has(root, "scenario") and not _has(root, "profile"):
        reader.problem(root, "a profile", "its middlebox: names one", got="a scenario")
        reader.finish()
    fields = reader.mapping(root, ("profile", "placement", "rules"), (*_OPTIONAL_KEYS, *extra_keys))
    sources = optional(fields, "sources", lambda n: _read_sources(reader, n), ())
    body = {key: node for key, node in fields.items() if key not in ("sources", *extra_keys)}
    resolve_sources(reader, replace(root, value=body), [source.key for source in sources])
    for key in ("placement", "ports"):
        if key in body:
            reader.cite(body[key])
    placements = {placement.value: placement for placement in Placement}
    placement = optional(
        body, "placement", lambda n: placements[reader.word(n, placements)], Placement.IN_PATH
    )
    defaults = reader.mapping(body["defaults"], ("look",)) if "defaults" in body else {}
    look: Fields = optional(defaults, "look", lambda n: look_fields(reader, n), {})
    name = optional(body, "profile", lambda n: read_name(reader, n, "a profile name"), "")
    rules = optional(body, "rules", lambda n: read_rules(reader, n, placement, look), ())
    tcp = optional(body, "tcp", lambda n: read_tcp(reader, n), TcpReading())
    return Profile(
        name=name,
        title=optional(body, "title", lambda n: reader.text(n, "a title"), name),
        placement=placement,
        rules=rules,
        tcp=tcp,
        http=optional(body, "http", lambda n: read_http(reader, n), HttpReading()),
        quic=optional(body, "quic", lambda n: read_quic(reader, n), QuicReading()),
        sources=sources,
        ports=optional(body, "ports", lambda n: _read_ports(reader, n), MappingProxyType({})),
        provenance=MappingProxyType({path: key or CHOSEN for path, key in reader.cited.items()}),
        path=reader.path,
    )


def _read_sources(reader: ProfileReader, node: Node) -> tuple[Source, ...]:
    sources: dict[str, Source] = {}
    for item in reader.items(node, "sources"):
        fields = reader.mapping(item, ("key", "what"), ("url",))
        key = optional(fields, "key", lambda n: reader.text(n, "a source key"), "")
        if key in sources or key == CHOSEN:
            why = "rename it" if key in sources else "that word is for what nobody published"
            reader.problem(fields["key"], "a source key of its own", why)
        what = optional(fields, "what", lambda n: reader.text(n, "what the source is"), "")
        sources[key] = Source(key, what, optional(fields, "url", lambda n: reader.text(n, "an address"), ""))
    return tuple(sources.values())


def _read_ports(reader: ProfileReader, node: Node) -> MappingProxyType[str, frozenset[int]]:
    ports: dict[str, frozenset[int]] = {}
    for protocol, listed in reader.mapping(node, (), TEXT_PROTOCOLS).items():
        found: set[int] = set()
        for item in reader.items(listed, "ports", at_least=1):
            low, dash, high = item.raw.partition("-")
            if dash and low.isdecimal() and high.isdecimal() and 1 <= int(low) <= int(high) <= 65535:
                found.update(range(int(low), int(high) + 1))
            elif isinstance(item.value, str):
                reader.problem(
                    item, "a port or a range such as 2500-2599", "ports go from 1 to 65535, the smaller first"
                )
            else:
                found.add(reader.whole(item, 1, 65535, what="a port"))
        ports[protocol] = frozenset(found)
    return MappingProxyType(ports)


# --- whom and when -------------------------------------------------------------------------------------------------


def read_phases(reader: Reader, node: Node, read: Callable[[Node], T]) -> list[tuple[int, T | None]]:
    """A `timeline:` as (nanoseconds, what `read` makes of `profile:`), rising. Scenarios write theirs alike."""
    phases: list[tuple[int, T | None]] = []
    for item in reader.items(node, "phases", at_least=1):
        fields = reader.mapping(item, ("at", "profile"))
        at_ns = optional(fields, "at", reader.duration_ns, 0)
        if phases and "at" in fields and at_ns <= phases[-1][0]:
            before = f"a time after {phases[-1][0] / 1e9:g}s, where the phase before begins"
            reader.problem(fields["at"], before, "put them in order")
        phases.append((at_ns, read(fields["profile"]) if "profile" in fields else None))
    return phases


def read_time_scale(reader: Reader, node: Node) -> float:
    """How much faster a box's memory runs than the real one's: 0.01 makes 1.8 s of 180 s."""
    scale = node.value
    if isinstance(scale, int | float) and not isinstance(scale, bool) and 0.0001 <= scale <= 1:
        return float(scale)
    reader.problem(node, "a time scale from 0.0001 to 1", "0.01 makes 1.8s of 180s")
    return 1.0


def add_reference_problems(reader: Reader, node: Node, error: ProfileError) -> None:
    """Problems of a file that `node` names: its own where it was found, else that it was not found."""
    for problem in error.problems:
        if problem.path:
            reader.problems.append(problem)
        else:
            reader.add(node.line, node.column, problem.text)


class _DeploymentReader:
    """Reads a file with `timeline:` or `subscribers:`, with or without rules of its own."""

    def __init__(self, files: _Files, reader: ProfileReader, path: Path) -> None:
        self.files = files
        self.reader = reader
        self.path = path
        self.own: Profile | None = None

    def read(self, root: Node) -> Deployment:
        reader = self.reader
        if _has(root, "rules", "profile"):
            self.own = read_profile(reader, root, _DEPLOYMENT_KEYS)
            name = self.own.name
            assert isinstance(root.value, dict)
            fields = {key: node for key, node in root.value.items() if key in _DEPLOYMENT_KEYS}
        else:
            fields = reader.mapping(root, ("deployment",), _DEPLOYMENT_KEYS)
            name = optional(fields, "deployment", lambda n: read_name(reader, n, "a deployment name"), "")
        always = (Phase(0, self.own),) if self.own is not None else ()
        deployment = Deployment(
            name=name,
            timeline=optional(fields, "timeline", self.timeline, always),
            subscribers=optional(fields, "subscribers", self.subscribers, ()),
        )
        return scaled(deployment, optional(fields, "time_scale", lambda n: read_time_scale(reader, n), 1.0))

    def timeline(self, node: Node) -> Timeline:
        return tuple(Phase(at, profile) for at, profile in read_phases(self.reader, node, self.profile))

    def profile(self, node: Node) -> Profile | None:
        """The profile that a timeline names, None for `none`."""
        reader = self.reader
        name = reader.text(node, f"the name of a profile, or {NOTHING}")
        if name in ("", NOTHING):
            return None
        if self.own is not None and name == self.own.name:
            return self.own
        try:
            path = _find(name, self.path.parent)
            if path.resolve() == self.path.resolve():
                reader.problem(
                    node, "another profile", "a file cannot consist of itself; name its rules' profile"
                )
                return None
            return self.files.profile(path)
        except ProfileError as error:
            add_reference_problems(reader, node, error)
            return None

    def subscribers(self, node: Node) -> tuple[Subscriber, ...]:
        reader = self.reader
        found: list[Subscriber] = []
        for item in reader.items(node, "subscribers"):
            fields = reader.mapping(item, ("name", "address"), ("profile", "timeline", "quota"))
            name = optional(fields, "name", lambda n: read_name(reader, n, "a subscriber's name"), "")
            if name and name in [other.name for other in found]:
                reader.problem(fields["name"], "a subscriber's name of its own", "rename one of them")
            if fields and ("profile" in fields) == ("timeline" in fields):
                got = "both" if "profile" in fields else "neither"
                reader.problem(
                    item, "either profile or timeline", "write profile: none to let all pass", got=got
                )
            if "timeline" in fields:
                timeline = self.timeline(fields["timeline"])
            else:
                timeline = (Phase(0, optional(fields, "profile", self.profile, None)),)
            networks = optional(fields, "address", lambda n: self.networks(n, found), ())
            quota = optional(fields, "quota", lambda n: reader.size_bytes(n, 1, MAX_QUOTA_BYTES), None)
            found.append(Subscriber(name, networks, timeline, quota))
        return tuple(found)

    def networks(self, node: Node, others: list[Subscriber]) -> tuple[Network, ...]:
        reader = self.reader
        found: list[Network] = []
        for item in reader.one_or_more(node, "addresses"):
            text = item.value if isinstance(item.value, str) else ""
            try:
                network = ip_network(text)
            except ValueError:
                reader.problem(item, "an address or network", _address_hint(text))
                continue
            for other in others:
                if any(_overlap(network, taken) for taken in other.networks):
                    reader.problem(item, "an address of one subscriber only", f"{other.name} has it already")
            found.append(network)
        return tuple(found)


def _address_hint(text: str) -> str:
    try:
        return f"the network is {ip_network(text, strict=False)}"
    except ValueError:
        return "write 192.0.2.11, 192.0.2.0/24 or 2001:db8:1::/64"


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)
