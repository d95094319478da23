"""Things that go wrong without anybody's doing: at a router, at a host; each for one IP version, until it is undone.

    duplicate-syn    subscriber: every SYN leaves twice, the second an exact copy of the first
    nat-timeout      router: it knows of no connection begun before now, and drops what belongs to none
    cut              router: no TCP packet gets through any more
    mtu-black-hole   router: MTU 1280 towards the subscribers, and the ICMP that says so is filtered
    mtu-probing      server: its kernel suspects a black hole after a few lost retransmissions (tcp_mtu_probing)
    reboot           server: its kernel knows of no connection any more, and had no time to say so to anybody
    syn-proxy        server: its firewall answers SYNs itself, the server hears of a client who has answered

The kernel does all of it: iptables, a route, a sysctl. No address is translated by `nat-timeout`, so that the two
ends' captures stay comparable; what a NAT does with a connection that it forgot is the same.
Must never: send a packet, or touch a node other than the one it is given.

Sources: iptables-extensions(8) on TEE, SYNPROXY, conntrack; ss(8); RFC 2923 (black holes); RFC 4821 and Linux
Documentation/networking/ip-sysctl.rst (tcp_mtu_probing); RFC 5382 REQ-5 (how long a NAT remembers a connection);
RFC 6092 (what a router without NAT does).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import MappingProxyType

from lab.errors import LabError
from lab.host import Host
from lab.topology import SERVERS_V4, SERVERS_V6, SUBSCRIBERS_V4, SUBSCRIBERS_V6, Role

BLACK_HOLE_MTU = 1280
"""Bytes: what IPv6 guarantees, and what many tunnels leave (RFC 8200 section 5)."""

COMMAND_TIMEOUT_S = 30.0
"""Limit for iptables, ip and sysctl (chosen)."""

MODULES_FIX = "sudo modprobe -a xt_conntrack xt_CT xt_TEE ipt_SYNPROXY ip6t_SYNPROXY tcp_diag"
"""What to do when iptables or ss refuses."""

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class FaultKind:
    """role: of the node where it happens; start: makes it so for one IP version and returns how to undo it."""

    role: Role
    start: Callable[[Host, int], Undo]


def start(kind: str, host: Host, family: int) -> Undo:
    """Make it so, now; in effect when this returns. LabError: the kernel cannot do it."""
    return FAULTS[kind].start(host, family)


def _run(host: Host, argv: Sequence[str], text: str = "") -> str:
    done = host.run(argv, timeout_s=COMMAND_TIMEOUT_S, input=text.encode())
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise LabError(
            f"expected {host.name} to accept {text.strip() or ' '.join(argv)!r}, got {said!r}",
            MODULES_FIX,
        )
    return done.stdout.decode()


def _rules(host: Host, family: int, rules: Mapping[str, Sequence[str]]) -> Undo:
    """Put rules at the head of their chains. rules: table -> lines such as `FORWARD -p tcp -j DROP`."""
    restore = "iptables-restore" if family == 4 else "ip6tables-restore"

    def text(letter: str, *, backwards: bool) -> str:
        # each goes to the head of its chain, so the last one of a table is put there first
        tables = (
            (table, [f"-{letter} {line}" for line in (lines[::-1] if backwards else lines)])
            for table, lines in rules.items()
        )
        return "".join(
            f"*{table}\n" + "".join(f"{line}\n" for line in lines) + "COMMIT\n" for table, lines in tables
        )

    def undo() -> None:
        _run(host, [restore, "--noflush"], text("D", backwards=False))

    _run(host, [restore, "--noflush"], text("I", backwards=True))
    return undo


def _duplicate_syn(host: Host, family: int) -> Undo:
    gateway = _run(host, ["ip", f"-{family}", "route", "show", "default"]).split()[2]
    return _rules(host, family, {"mangle": [f"POSTROUTING -p tcp --syn -j TEE --gateway {gateway}"]})


def _nat_timeout(host: Host, family: int) -> Undo:
    # The first rule that needs it turns connection tracking on, with an empty table; from then on a segment that is
    # not a SYN and belongs to no entry counts as NEW.
    return _rules(host, family, {"filter": ["FORWARD -p tcp ! --syn -m conntrack --ctstate NEW -j DROP"]})


def _cut(host: Host, family: int) -> Undo:
    return _rules(host, family, {"filter": ["FORWARD -p tcp -j DROP"]})


def _mtu_black_hole(host: Host, family: int) -> Undo:
    icmp = "icmp --icmp-type fragmentation-needed" if family == 4 else "icmpv6 --icmpv6-type packet-too-big"
    silent = _rules(host, family, {"filter": [f"OUTPUT -p {icmp} -j DROP"]})
    network = SUBSCRIBERS_V4 if family == 4 else SUBSCRIBERS_V6
    words = _run(host, ["ip", f"-{family}", "route", "show", network]).split()
    route = [network, "via", words[words.index("via") + 1], "dev", words[words.index("dev") + 1]]
    change = ["ip", f"-{family}", "route", "replace", *route]
    _run(host, [*change, "mtu", "lock", str(BLACK_HOLE_MTU)])

    def undo() -> None:
        _run(host, change)
        silent()

    return undo


def _mtu_probing(host: Host, family: int) -> Undo:
    # These are of the whole host, so they stay: the other IP version's steps may still need them. 1 = only when a black
    # hole is suspected, here after one retransmission more than none instead of three, to be short (chosen).
    for name, value in (("tcp_mtu_probing", 1), ("tcp_retries1", 1)):
        _run(host, ["sh", "-c", f"echo {value} > /proc/sys/net/ipv4/{name}"])
    return lambda: None


def _syn_proxy(host: Host, family: int) -> Undo:
    undo = _rules(
        host,
        family,
        {
            "raw": ["PREROUTING -p tcp --syn -j CT --notrack"],
            "filter": [
                "INPUT -p tcp -m conntrack --ctstate INVALID,UNTRACKED -j SYNPROXY"
                " --sack-perm --timestamp --wscale 7 --mss 1440",
                "INPUT -p tcp -m conntrack --ctstate INVALID -j DROP",
            ],
        },
    )
    # The proxy must see the client's ACK before any entry exists, so none may be picked up in mid-connection.
    _run(host, ["sh", "-c", "echo 0 > /proc/sys/net/netfilter/nf_conntrack_tcp_loose"])
    return undo


@contextmanager
def speechless(hosts: Iterable[Host], families: Iterable[int] = (4, 6)) -> Iterator[None]:
    """Hosts that know of no TCP connection with each other any more, and cannot say so while the block lasts.

    Without the second the kernel would take leave of each peer by RST. What cannot be forgotten stays.
    """
    with ExitStack() as undo:
        for host in hosts:
            for family in families:
                undo.callback(_rules(host, family, {"filter": ["OUTPUT -p tcp -j DROP"]}))
                _run(host, ["ss", "--kill", "--tcp", *_abroad(host, family)])
        yield


def _abroad(host: Host, family: int) -> list[str]:
    """For ss: connections with the other side of the box."""
    inside, outside = (SUBSCRIBERS_V4, SERVERS_V4) if family == 4 else (SUBSCRIBERS_V6, SERVERS_V6)
    return ["dst", outside if host.role is Role.SUBSCRIBER else inside]


def _reboot(host: Host, family: int) -> Undo:
    with speechless([host], [family]):
        left = _run(host, ["ss", "--no-header", "--tcp", "state", "established", *_abroad(host, family)])
    if left:
        raise LabError(
            f"expected {host.name} to forget its connections, got {left.splitlines()[0]!r}",
            "use a kernel with CONFIG_INET_DIAG_DESTROY",
        )
    return lambda: None


FAULTS: Mapping[str, FaultKind] = MappingProxyType(
    {
        "cut": FaultKind(Role.ROUTER, _cut),
        "duplicate-syn": FaultKind(Role.SUBSCRIBER, _duplicate_syn),
        "mtu-black-hole": FaultKind(Role.ROUTER, _mtu_black_hole),
        "mtu-probing": FaultKind(Role.SERVER, _mtu_probing),
        "nat-timeout": FaultKind(Role.ROUTER, _nat_timeout),
        "reboot": FaultKind(Role.SERVER, _reboot),
        "syn-proxy": FaultKind(Role.SERVER, _syn_proxy),
    }
)
"""By the name that scenarios call them."""
