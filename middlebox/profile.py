"""The frozen model of a profile: what one middlebox does, and where each number comes from.

Made by `load` from YAML; read by the engine. Nothing here changes while a box runs, nothing here computes.
Times are nanoseconds, sizes bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import TYPE_CHECKING

from middlebox.dissect.http_message import READS_ALL as READS_ALL_HTTP, HttpReading
from middlebox.dissect.quic import READS_ALL as READS_ALL_QUIC, QuicReading
from middlebox.flow import Direction
from middlebox.look import Constant, Look, Number, Quantiles

if TYPE_CHECKING:
    from middlebox.filters import CompiledFilter

CHOSEN = "chosen"
"""The source key of a number that nobody has published."""


class Placement(Enum):
    """on-path: a tap with an injector; the original always passes, and first. in-path: everything goes through it."""

    ON_PATH = "on-path"
    IN_PATH = "in-path"


class Towards(Enum):
    CLIENT = "client"
    SERVER = "server"
    BOTH = "both"


class KeyPart(Enum):
    INSIDE_IP = "inside_ip"
    OUTSIDE_IP = "outside_ip"
    INSIDE_PORT = "inside_port"
    OUTSIDE_PORT = "outside_port"
    CLIENT_IP = "client_ip"
    SERVER_IP = "server_ip"
    CLIENT_PORT = "client_port"
    SERVER_PORT = "server_port"


@dataclass(frozen=True, slots=True)
class PortBlock:
    """Which block of `size` ports a port lies in, from 0: `client_port / 128`."""

    part: KeyPart
    size: int

    @property
    def value(self) -> str:
        return f"{self.part.value} / {self.size}"


# --- actions -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Reset:
    """Forge RSTs towards one end or both."""

    towards: Towards
    look: Look
    look_to_client: Look | None = None  # where the two ends get different ones
    look_to_server: Look | None = None


class DropScope(Enum):
    PACKET = "packet"
    FLOW = "flow"
    DIRECTION = "direction"  # of the trigger


@dataclass(frozen=True, slots=True)
class Drop:
    """Do not let it pass (in-path only)."""

    scope: DropScope = DropScope.PACKET


@dataclass(frozen=True, slots=True)
class Log:
    """Only write down that the rule matched."""


@dataclass(frozen=True, slots=True)
class Close(Reset):
    """Forge an orderly end (FIN) towards one end or both; the look's flags are FA unless the profile says else."""


@dataclass(frozen=True, slots=True)
class Reply(Reset):
    """Forge data, as if the other end had said it: an error reply, a block page, a TLS alert. `look.payload` is what
    is said; what a later action of the same rule forges in that direction comes behind it."""


@dataclass(frozen=True, slots=True)
class Substitution:
    """Every match of `pattern` in a payload becomes `template` (`re.sub`: \\1 is the first group)."""

    pattern: re.Pattern[bytes]
    template: bytes


@dataclass(frozen=True, slots=True)
class Rewrite:
    """Change the packet on its way (in-path only). Where its length changes, the sequence and acknowledgment numbers
    of the rest of the connection are translated, in both directions, SACK blocks too.

    `flags`: TCP flags to give it. `strip`: without its payload.
    """

    substitutions: tuple[Substitution, ...] = ()
    flags: int | None = None
    strip: bool = False


@dataclass(frozen=True, slots=True)
class Throttle:
    """From now on, drop what comes faster than `rate_bits_per_s`, each direction by itself (in-path only)."""

    rate_bits_per_s: Number
    burst_bytes: int
    directions: tuple[Direction, ...] = (Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT)


@dataclass(frozen=True, slots=True)
class Delay:
    """Hold the packet for a while (in-path only)."""

    duration: int | Quantiles


class AnswerName(Enum):
    """How a forged DNS answer names what was asked: by a pointer to the question (0xc00c), or written out."""

    POINTER = "pointer"
    WRITTEN = "written"


_FIVE_MINUTES = Constant(300)


@dataclass(frozen=True, slots=True)
class Dns:
    """Forge DNS answers to the query at hand, as if the server had sent them.

    `a`, `aaaa`: pools of addresses, one of which is told; a query of another type gets the A answer (as some real
    injectors do) when `any_type`, else none. `cyclic`: one after the other instead of drawn. Flags: qr and what the
    query had, `aa`, `ra`. `look`: of the IP packet; TCP's fields mean nothing.
    """

    a: tuple[bytes, ...]
    aaaa: tuple[bytes, ...]
    look: Look
    ttl_s: Number = _FIVE_MINUTES
    authoritative: bool = False
    recursion_available: bool = True
    cyclic: bool = False
    any_type: bool = False
    name: AnswerName = AnswerName.POINTER


@dataclass(frozen=True, slots=True)
class Icmp:
    """Forge an ICMP (or ICMPv6) error about the trigger towards one end or both."""

    towards: Towards
    look: Look
    kind: int = 3  # destination unreachable; in IPv6 `kind6`
    code: int = 13  # communication administratively prohibited (RFC 1812)
    kind6: int = 1
    code6: int = 1


@dataclass(frozen=True, slots=True)
class Mark:
    """Remember a word, for `flow.marks` of later packets and rules.

    `key` empty: about this connection, as long as it lasts. Else about everybody with the same key, for `duration_ns`.
    """

    word: str
    key: tuple[KeyPart | PortBlock, ...] = ()
    duration_ns: int = 0


@dataclass(frozen=True, slots=True)
class Unmark:
    """Forget a word that `Mark` has remembered about this connection."""

    word: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """Lead the connection to another host (in-path only). Decided at its first packet and carried out by the kernel's
    NAT, so the filter of the rule may only speak of what that packet shows for the whole connection.

    ipv4, ipv6: where to; b"" leaves connections of that version alone. port: None keeps the client's.
    """

    ipv4: bytes
    ipv6: bytes
    port: int | None = None

    def address(self, version: int) -> bytes:
        return self.ipv4 if version == 4 else self.ipv6


Action = (
    Reset | Drop | Log | Close | Reply | Rewrite | Throttle | Delay | Dns | Icmp | Mark | Unmark | Redirect
)

IN_PATH_ONLY = (Drop, Rewrite, Throttle, Delay, Redirect)
"""What a tap with an injector cannot do."""


# --- residual ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """What is done to the punished packets that `when`, which reads single packets only, is true of."""

    when: CompiledFilter
    do: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class Residual:
    """Who stays punished after a match: same key -> `do`, for `duration_ns`.

    cases: instead of `do`, what depends on the packet: the first case that holds. A packet without one is let alone.
    after: how long it takes until the box acts; meanwhile everything passes unread. Counted within `duration_ns`.
    """

    key: tuple[KeyPart | PortBlock, ...]
    duration_ns: int
    refresh: bool  # whether a hit starts the time anew
    do: tuple[Action, ...]
    capacity: int = 65536  # entries; the oldest goes first (chosen)
    cases: tuple[Case, ...] = ()
    after: int | Quantiles = 0

    @property
    def drops(self) -> bool:
        """Whether packets may be dropped as long as it lasts."""
        return any(isinstance(action, Drop) for action in self.actions)

    @property
    def actions(self) -> tuple[Action, ...]:
        """All that may be done to anybody."""
        return (*self.do, *(action for case in self.cases for action in case.do))


# --- rules and profiles --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)  # a rule is itself: compared and hashed on the packet path
class Rule:
    name: str
    when: CompiledFilter
    do: tuple[Action, ...]
    probability: float = 1.0
    direction: Direction | None = None
    residual: Residual | None = None


class StateFrom(Enum):
    """Which packet makes the box remember a connection. ANY: it picks up in the middle too."""

    SYN = "syn"
    SYNACK = "synack"
    ANY = "any"


class Reassembly(Enum):
    NONE = "none"  # each segment by itself
    IN_ORDER = "in-order"  # joins what arrives in order, ignores the rest
    FULL = "full"  # keeps early segments until the hole is filled


class Overlap(Enum):
    FIRST = "first"
    LAST = "last"


class SecondSyn(Enum):
    """What a SYN means for a connection that the box knows."""

    NEW = "new"  # begins it anew
    IGNORED = "ignored"
    RESYNC = "resync"  # the box loses count: see `TcpReading`


DEFAULT_IDLE_NS = 600_000_000_000


@dataclass(frozen=True, slots=True)
class TcpReading:
    """How well the box reads TCP. These knobs decide which evasions work.

    A box that has lost count goes on with what comes next: the client's next data, wherever it stands, or the next
    SYN+ACK, which says what the server expects. RESYNC: it loses count at a second SYN of the client's, at a second
    SYN+ACK, and at one that acknowledges another SYN (Wang17 section 4). RESYNC and IGNORED: it never changes its mind
    about who is the client.
    """

    state_from: StateFrom = StateFrom.ANY
    handshake: bool = False  # look at data only after SYN, SYN+ACK and ACK were seen
    reassembly: Reassembly = Reassembly.FULL
    overlap: Overlap = Overlap.FIRST
    second_syn: SecondSyn = SecondSyn.NEW
    checks_checksum: bool = False
    checks_ack: bool = False  # ignores data whose ACK number is outside what the peer has sent
    checks_data_offset: bool = True
    ends_on_rst: bool = True
    ends_on_fin: bool = False
    resync_on_rst: float = 0.0  # share of RSTs at which it loses count, and ends nothing
    resync_on_refusal: float = 0.0  # the same of RSTs with which a server answers a SYN
    buffer_bytes: int = 65536  # of early segments kept per direction
    idle_ns: int = DEFAULT_IDLE_NS  # a connection not seen for so long is forgotten
    max_flows: int = 200_000
    join_tls_records: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    key: str
    what: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """One middlebox."""

    name: str
    title: str
    placement: Placement
    rules: tuple[Rule, ...]
    tcp: TcpReading = TcpReading()
    http: HttpReading = READS_ALL_HTTP
    quic: QuicReading = READS_ALL_QUIC
    sources: tuple[Source, ...] = ()
    ports: Mapping[str, frozenset[int]] = field(default_factory=lambda: MappingProxyType({}))
    """Where text protocols are looked for, in place of Wireshark's own ports: `{smtp: {25, 587, 2525}}`."""
    provenance: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Path of a value in the file (`rules.0.do.0.reset.look.ip_id`) -> source key or `chosen`."""
    path: str = ""


# --- deployment: whom a profile applies to, and when ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Phase:
    """From `at_ns` after the start of the box on, this profile; None lets everything pass."""

    at_ns: int
    profile: Profile | None


Timeline = tuple[Phase, ...]
"""Rising `at_ns`; before the first phase everything passes."""


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Some inside addresses with a timeline of their own."""

    name: str
    networks: tuple[IPv4Network | IPv6Network, ...]
    timeline: Timeline
    quota_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Deployment:
    """Everything a box needs to know: the timeline for everybody, and who is treated differently."""

    name: str
    timeline: Timeline
    subscribers: tuple[Subscriber, ...] = ()

    def profiles(self) -> tuple[Profile, ...]:
        """Every profile that applies to anybody at any time, once each."""
        phases = [*self.timeline, *(phase for s in self.subscribers for phase in s.timeline)]
        return tuple({id(p.profile): p.profile for p in phases if p.profile is not None}.values())
