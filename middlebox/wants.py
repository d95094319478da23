"""What must come to user space: worked out from the rules, the TCP knobs and the residuals of every profile in force.

Pure, and never too little: when in doubt a packet is wanted. Counterpart of `gate`, which says it to the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from middlebox.dissect import DEFAULT_PORTS
from middlebox.filters import MOST_WORDS, VERBATIM, Selector, merged_ranges
from middlebox.flow import Direction
from middlebox.packet import FIN, PROTOCOL_TCP, PROTOCOL_UDP, RST, SYN
from middlebox.profile import (
    DEFAULT_IDLE_NS,
    Action,
    Close,
    Delay,
    Deployment,
    Dns,
    Drop,
    Icmp,
    KeyPart,
    Profile,
    Reassembly,
    Redirect,
    Reply,
    Reset,
    Residual,
    Rewrite,
    Rule,
    SecondSyn,
    StateFrom,
    Throttle,
)
from middlebox.program import Program, redirects

Ports = tuple[tuple[int, int], ...]
"""Ranges, both ends included."""

_ALL_PORTS: Ports = ((0, 0xFFFF),)
_TRANSPORTS = {PROTOCOL_TCP: "tcp", PROTOCOL_UDP: "udp"}
_FORGING = (Reset, Close, Reply, Dns, Icmp)
"""These send packets of their own."""
_BEGIN_OR_BREAK = SYN | RST
"""Where more of the empty segments are wanted, the end of each connection has to be asked about anyway."""
_STARTTLS = ("smtp", "imap", "pop")
"""Where TLS may come later in a connection."""


@dataclass(frozen=True, slots=True)
class Want:
    """Packets that some rule needs to see, whichever way they go.

    transport: tcp, udp, other, any. ports, peer_ports: of one end and of the other, None for all. tls: only of
    connections that begin with a TLS record; the kernel itself lets go of the others. words: of connections whose
    client has said one of these; the SYN of the others, and the first that their clients say, need only be copied.
    """

    transport: str
    ports: Ports | None
    peer_ports: Ports | None
    every_segment: bool
    tls: bool = False
    words: frozenset[bytes] = frozenset()

    def concerns(self, protocol: int, sport: int, dport: int) -> bool:
        """Whether packets of this IP protocol between these ports are among them, one way or the other."""
        if self.transport != "any" and self.transport != _TRANSPORTS.get(protocol, "other"):
            return False
        ours, peers = self.ports or _ALL_PORTS, self.peer_ports or _ALL_PORTS
        return any(
            _holds(ours, here) and _holds(peers, there) for here, there in ((sport, dport), (dport, sport))
        )

    def __str__(self) -> str:
        ports = " and ".join(_in_words(p) for p in (self.ports, self.peer_ports) if p is not None)
        what = "every segment" if self.every_segment else "TLS" if self.tls else "payload"
        if self.words:
            what += f" with {len(self.words)} word{'s' * (len(self.words) > 1)}"
        return f"{self.transport} {ports or 'all ports'}, {what}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is queued.

    flags: TCP flags that bring a segment without payload to user space. renews: after any SYN, SYN+ACK or RST some box
    may read a connection anew, so that nothing counts any more that was decided about it. checks_checksum: some box
    looks at checksums.
    """

    wants: tuple[Want, ...]
    flags: int
    renews: bool = False
    forges: bool = True
    """Some rule sends packets of its own."""
    whole_packets: bool = True
    """Large packets may come as they are; not where some rule changes, holds or polices packets one by one."""
    checks_checksum: bool = True
    idle_ns: int = DEFAULT_IDLE_NS
    """How long the most forgetful box remembers a connection that is idle."""
    redirects: tuple[Redirect, ...] = ()
    """Where connections may be led, each place once."""
    led: tuple[Want, ...] = ()
    """Whose first packets user space has to be asked about for that."""
    synacks: bool = False
    """Of connections whose payload is wanted SYN+ACKs are too: one of them says where both streams begin, whichever
    segment comes first. Not where only TLS is wanted: most of those connections never come to user space at all."""

    @property
    def words(self) -> frozenset[bytes]:
        """Where none of these is in the first that a client says, it need not be asked about."""
        return frozenset().union(*(want.words for want in self.wants))

    def without_words(self) -> Plan:
        """The same, asked about each packet."""
        bare = _needed(replace(want, words=frozenset()) for want in self.wants)
        return replace(self, wants=_in_order(bare))

    @property
    def sees_syn(self) -> bool:
        """Whether user space gets every SYN of the connections it is shown."""
        return bool(self.flags & SYN) or all(want.every_segment for want in self.wants)


def borders(wants: Iterable[Want]) -> list[int]:
    """Where port numbers begin that concern other wants than those below: between two neighbours all are alike."""
    ranges = [r for want in wants for ports in (want.ports, want.peer_ports) for r in ports or ()]
    return sorted({border for low, high in ranges for border in (low, high + 1)})


def plan_for(*deployments: Deployment, punishing: bool = True) -> Plan:
    """What the rules that apply to anybody at any time need to see. punishing: a residual is in force somewhere."""
    wants: dict[Want, None] = {}
    flags = 0
    synacks = False
    profiles = [profile for deployment in deployments for profile in deployment.profiles()]
    for profile in profiles:
        judging = [rule for rule in profile.rules if not redirects(rule)]
        mine = [want for rule in judging for want in _wants_of(rule, profile, punishing=punishing)]
        if any(rule.when.needs.meters for rule in judging):
            mine = [Want("any", None, None, every_segment=True)]
        wants.update(dict.fromkeys(mine))
        if any(w.transport in ("tcp", "any") for w in mine):
            flags |= _flags_of(profile)
            synacks |= _reads_from_the_beginning(profile)
    leading = [rule for profile in profiles for rule in profile.rules if redirects(rule)]
    places = [action for rule in leading for action in rule.do if isinstance(action, Redirect)]
    led = [
        _want_of(selector, every_segment=True) for rule in leading for selector in rule.when.needs.selectors
    ]
    plan = Plan(
        _in_order(_needed(wants)),
        flags,
        renews=any(Program(profile).may_lose_count for profile in profiles),
        forges=any(isinstance(a, _FORGING) for p in profiles for rule in p.rules for a in _actions_of(rule)),
        whole_packets=not any(_handles_packets_singly(rule) for p in profiles for rule in p.rules),
        checks_checksum=any(profile.tcp.checks_checksum for profile in profiles),
        idle_ns=min((p.tcp.idle_ns for p in profiles), default=DEFAULT_IDLE_NS),
        redirects=tuple(dict.fromkeys(places)),
        led=tuple(dict.fromkeys(led)),
        synacks=synacks,
    )
    asks_anyway = leading or any(want.tls for want in plan.wants) or flags & ~_BEGIN_OR_BREAK
    return plan.without_words() if asks_anyway or len(plan.words) > MOST_WORDS else plan


def _in_order(wants: Iterable[Want]) -> tuple[Want, ...]:
    """TLS last: that a connection is not TLS is no reason to let go of it where others want to see it. Words too."""
    return tuple(sorted(wants, key=lambda want: (want.tls, bool(want.words))))


def _needed(wants: Iterable[Want]) -> list[Want]:
    """Those that no other covers; of the same packets, one want with the words of all, or with none."""
    words_of: dict[Want, frozenset[bytes] | None] = {}
    for want in wants:
        bare, words = replace(want, words=frozenset()), want.words or None
        known = words_of.get(bare, words)
        words_of[bare] = known | words if known and words else None
    merged = _joined([replace(bare, words=words or frozenset()) for bare, words in words_of.items()])
    return [want for want in merged if not any(_covers(other, want) for other in merged)]


def _joined(wants: Iterable[Want]) -> list[Want]:
    """The same with one want for all ports about which the same is wanted: the kernel looks a port up once."""
    apart: list[Want] = []
    ports_of: dict[Want, Ports] = {}
    for want in wants:
        if want.ports is None or want.peer_ports is not None:
            apart.append(want)
        else:
            kind = replace(want, ports=None)
            ports_of[kind] = ports_of.get(kind, ()) + want.ports
    return [replace(kind, ports=merged_ranges(ports)) for kind, ports in ports_of.items()] + apart


def _handles_packets_singly(rule: Rule) -> bool:
    """Whether packets have to come one by one, and those without payload too."""
    return any(isinstance(action, Rewrite | Throttle | Delay) for action in _actions_of(rule))


def _actions_of(rule: Rule) -> tuple[Action, ...]:
    """What it does at a match, and what a residual of it does later."""
    return (*rule.do, *(rule.residual.actions if rule.residual is not None else ()))


def _flags_of(profile: Profile) -> int:
    tcp = profile.tcp
    flags = SYN if tcp.state_from is not StateFrom.ANY or tcp.second_syn is not SecondSyn.NEW else 0
    flags |= RST if tcp.ends_on_rst else 0
    return flags | (FIN if tcp.ends_on_fin else 0) | (SYN | RST if Program(profile).may_lose_count else 0)


def _reads_from_the_beginning(profile: Profile) -> bool:
    """Whether it matters which byte of a stream is the first, though connections are remembered from any packet on."""
    tcp = profile.tcp
    in_order = tcp.reassembly is not Reassembly.NONE and Program(profile).reads_streams
    return tcp.state_from is StateFrom.ANY and (in_order or tcp.checks_ack)


def _wants_of(rule: Rule, profile: Profile, *, punishing: bool) -> Iterator[Want]:
    words = _words_of(rule, profile)
    for selector in rule.when.needs.selectors:
        every = (
            not selector.payload_only
            or rule.when.needs.counts
            or profile.tcp.handshake
            or _handles_packets_singly(rule)
        )
        want = _want_of(selector, every_segment=every)
        if not every and words:
            want = replace(want, words=words)
        # A box that checks ACK numbers ignores segments that the kernel would take for the beginning.
        over_tcp = "tls" in selector.protocols and selector.transport == "tcp"
        if over_tcp and not want.every_segment and not profile.tcp.checks_ack:
            ports = {**DEFAULT_PORTS, **profile.ports}
            text_ports = sorted(port for protocol in _STARTTLS for port in ports[protocol])
            yield replace(want, tls=True)
            text_only = _among(tuple((port, port) for port in text_ports), want.ports)
            want = replace(want, ports=text_only, words=frozenset())  # what is said there hangs on the server
        if want.ports != ():
            yield want
        if rule.residual is not None and punishing:
            yield _want_of_residual(want, rule.residual)


def _words_of(rule: Rule, profile: Profile) -> frozenset[bytes]:
    """Words of which a client must have said one before this rule can match; none where there are others, or where the
    box has to see more of a connection than what its client says."""
    tcp, program, needs = profile.tcp, Program(profile), rule.when.needs
    follows_one_stream = (
        tcp.state_from is StateFrom.SYN
        and tcp.second_syn is SecondSyn.NEW
        and not (program.couples_directions or program.may_lose_count or program.meters)
        and program.fields <= VERBATIM
        and all(r.direction is Direction.CLIENT_TO_SERVER for r in profile.rules)
    )
    joins_records = "tls" in needs.protocols and tcp.join_tls_records
    return needs.words or frozenset() if follows_one_stream and not joins_records else frozenset()


def _want_of(selector: Selector, *, every_segment: bool) -> Want:
    src, dst = selector.src_ports, selector.dst_ports
    ports, peer = (dst, src) if dst is not None else (src, None)
    return Want(selector.transport, ports, peer, every_segment)


def _among(ports: Ports, allowed: Ports | None) -> Ports:
    """Those of `ports`, single numbers, that lie in `allowed`."""
    if allowed is None:
        return ports
    return tuple((low, high) for low, high in ports if any(a <= low <= b for a, b in allowed))


def _want_of_residual(want: Want, residual: Residual) -> Want:
    """A punished host is punished on its first SYN, and on every port that the key does not name."""
    # A block of ports is wider than the port that the rule names.
    if KeyPart.OUTSIDE_PORT in residual.key or KeyPart.SERVER_PORT in residual.key:
        return Want(want.transport, want.ports, want.peer_ports, True)
    transport = "any" if any(isinstance(action, Drop) for action in residual.actions) else "tcp"
    return Want(transport, None, None, True)


def _covers(wide: Want, narrow: Want) -> bool:
    return (
        wide != narrow
        and wide.transport in (narrow.transport, "any")
        and (wide.ports is None or (wide.ports, wide.peer_ports) == (narrow.ports, narrow.peer_ports))
        and wide.every_segment >= narrow.every_segment
        and wide.tls <= narrow.tls
        and (not wide.words or bool(narrow.words) and wide.words >= narrow.words)
    )


def _holds(ports: Ports, port: int) -> bool:
    return any(low <= port <= high for low, high in ports)


def _in_words(ports: Ports) -> str:
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ports)
