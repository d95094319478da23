"""What comes to user space, and what the kernel does by itself, as text for iptables-restore.

Pure: it makes text, `nfqueue` and `__main__` carry it out. It must never let a packet by that a rule could match;
when in doubt a packet is queued. Only chains of our own, named TAMPERLAB-*, and jumps to them.

Marks. A packet that comes to us says in its mark what conntrack knows (`ORIGINAL`, `REPLY`, `FIRST`). A verdict that
decides something for the rest of the connection goes back with `ANSWERED`, the flags of `decision.Offload` (bits 0-3)
and the generation (bits 8-23), by NF_REPEAT: the packet walks through the chain again, which keeps the flags in the
connection's mark and then lets the packet go or drops it. From there on the kernel answers alone, as long as the
generation is the present one.

Sources: iptables-extensions(8): connmark, conntrack, mark, multiport, bpf, NFQUEUE, CT, TTL, HL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from middlebox.bpf import EMPTY_BYTECODE, PAYLOAD_BYTECODE, TLS_BYTECODE
from middlebox.decision import Offload
from middlebox.packet import FIN, RST, SYN
from middlebox.profile import Redirect
from middlebox.wants import Plan, Ports, Want

QUEUE_NUMBER: Final = 2012
"""One queue carries IPv4 and IPv6 (chosen; queue numbers are per network namespace)."""

INJECT_FROM: Final = "tlab-in"
INJECT_INTO: Final = "tlab-out"
"""The two ends of the injection port: frames are written to the first and routed from the second."""

OFFLOAD_MASK: Final = 0xF
SEEN: Final = 1 << 4
"""Connection mark: some packet of it has been queued."""
GENERATION_SHIFT: Final = 8
GENERATIONS: Final = 1 << 16
GENERATION_MASK: Final = (GENERATIONS - 1) << GENERATION_SHIFT
ORIGINAL: Final = 1 << 24
REPLY: Final = 1 << 25
"""Packet mark, kernel to us: sent by the end that spoke first, or by the end that answered, as conntrack has seen it.
Neither: conntrack knows nothing of this packet."""
FIRST: Final = 1 << 26
"""Packet mark, kernel to us: the first packet that is queued of this connection."""
ANSWERED: Final = 1 << 27
"""Packet mark, us to kernel: this mark carries a decision."""
DROPPED: Final = 1 << 28
"""Packet mark, us to kernel: and the packet itself is dropped."""
LED: Final = 1 << 5
"""Connection mark: somebody was asked where it goes."""
REDIRECTED: Final = 1 << 29
"""Packet mark, us to kernel: it goes elsewhere; the number of the place stands where answers have the generation."""

EXACT_TTLS: Final = {0: "02:00:00:00:01:00", 255: "02:00:00:00:01:ff"}
"""TTLs that routing cannot leave on a packet (it takes one), set in FORWARD by the frame's source address."""

SYSCTLS: Final = {
    # Sequence numbers are what the ends make of them: conntrack must not call a packet invalid and lose its mark.
    "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
    "net/netfilter/nf_conntrack_tcp_loose": "1",
    # Kept short so that thousands of connections a second do not fill the table (chosen).
    "net/netfilter/nf_conntrack_tcp_timeout_time_wait": "5",
    "net/netfilter/nf_conntrack_tcp_timeout_fin_wait": "30",
    # Forged packets come with any source address.
    "net/ipv4/conf/all/rp_filter": "0",
}
UDP_TIMEOUTS_S: Final = {
    "net/netfilter/nf_conntrack_udp_timeout": 30,
    "net/netfilter/nf_conntrack_udp_timeout_stream": 120,
}
"""The kernel's own. It may not remember for longer than the box that datagrams of a flow are none of its business."""
CHECKSUM_SYSCTL: Final = "net/netfilter/nf_conntrack_checksum"
"""Whether a packet with a wrong checksum belongs to its connection. If not, it decides nothing for it."""

_MULTIPORT_SLOTS = 15

_BOX = "TAMPERLAB-BOX"
_DECIDED = "TAMPERLAB-DECIDED"
_ANSWERED = "TAMPERLAB-ANSWERED"
_DATA = "TAMPERLAB-DATA"
_TLS = "TAMPERLAB-TLS"
_NOT_TLS = "TAMPERLAB-NOT-TLS"
_QUEUE = "TAMPERLAB-QUEUE"
_INJECTED = "TAMPERLAB-INJECTED"
_NOTRACK = "TAMPERLAB-NOTRACK"
_LEAD = "TAMPERLAB-LEAD"
_ASK = "TAMPERLAB-ASK"
_REDIRECT = "TAMPERLAB-REDIRECT"
MANGLE_CHAINS: Final = (_BOX, _DECIDED, _ANSWERED, _DATA, _TLS, _NOT_TLS, _QUEUE, _INJECTED)


@dataclass(frozen=True, slots=True)
class Wiring:
    """Where the box stands: its two interfaces, and what happens to packets when it does not answer."""

    inside: str
    outside: str
    fail_open: bool = True
    queue: int = QUEUE_NUMBER


# --- text -----------------------------------------------------------------------------------------------------------


def sysctls(plan: Plan) -> dict[str, str]:
    """Knobs of the network namespace, below /proc/sys; none when nothing is queued."""
    if not plan.wants and not plan.redirects:
        return {}
    idle_s = max(-(-plan.idle_ns // 10**9), 1)
    timeouts = {name: str(min(seconds, idle_s)) for name, seconds in UDP_TIMEOUTS_S.items()}
    return {**SYSCTLS, **timeouts, CHECKSUM_SYSCTL: f"{plan.checks_checksum:d}"}


def install_text(plan: Plan, wiring: Wiring, *, family: int, generation: int) -> str:
    """For `iptables-restore --noflush` (family 4) or `ip6tables-restore --noflush` (6): chains and jumps."""
    mangle = [
        *_declared(MANGLE_CHAINS),
        *_jumps("-A", wiring),
        *_mangle_rules(plan, wiring, family, generation),
    ]
    raw = [*_declared((_NOTRACK,)), f"-A PREROUTING -i {INJECT_INTO} -j {_NOTRACK}", *_raw_rules(plan)]
    return _table("raw", raw) + _table("mangle", mangle)


def refresh_text(plan: Plan, wiring: Wiring, *, family: int, generation: int) -> str:
    """The same chains with new rules: the jumps stay, each table changes at once."""
    mangle = [*_declared(MANGLE_CHAINS), *_mangle_rules(plan, wiring, family, generation)]
    return _table("raw", [*_declared((_NOTRACK,)), *_raw_rules(plan)]) + _table("mangle", mangle)


def remove_text(wiring: Wiring) -> str:
    """Takes away what `install_text` made. Fails as a whole where nothing is installed."""
    mangle = [*_jumps("-D", wiring), *_removed(MANGLE_CHAINS)]
    raw = [f"-D PREROUTING -i {INJECT_INTO} -j {_NOTRACK}", *_removed((_NOTRACK,))]
    return _table("mangle", mangle) + _table("raw", raw)


def redirect_mark(plan: Plan, to: Redirect) -> int:
    """What a packet is marked with whose connection goes there."""
    return REDIRECTED | plan.redirects.index(to) << GENERATION_SHIFT


def redirect_text(plan: Plan, wiring: Wiring, *, family: int) -> str:
    """What leads connections to other hosts: asked about in mangle, before nat, which then finds the answer's mark."""
    lead = [
        f"-A {_LEAD} {match} -m conntrack --ctstate NEW -m connmark --mark 0x0/{LED:#x} -j {_ASK}"
        for want in plan.led
        for match, _ in _matches(want)
    ]
    ask = [
        f"-A {_ASK} -j CONNMARK --set-xmark {LED:#x}/{LED:#x}",
        f"-A {_ASK} -j NFQUEUE --queue-num {wiring.queue}" + (" --queue-bypass" if wiring.fail_open else ""),
    ]
    nat = [
        f"-A {_REDIRECT} -p {transport} -m mark "
        f"--mark {redirect_mark(plan, to):#x}/{REDIRECTED | GENERATION_MASK:#x} -j DNAT --to-destination {place}"
        for to in plan.redirects
        if (place := _place(to, family))
        for transport in ("tcp", "udp")
    ]
    return _table(
        "mangle", [*_declared((_LEAD, _ASK)), *_lead_jumps("-A", wiring, _LEAD), *lead, *ask]
    ) + _table("nat", [*_declared((_REDIRECT,)), *_lead_jumps("-A", wiring, _REDIRECT), *nat])


def remove_redirect_text(wiring: Wiring) -> str:
    """Takes away what `redirect_text` made; what was led elsewhere stays there. Fails where nothing is installed."""
    return _table("mangle", [*_lead_jumps("-D", wiring, _LEAD), *_removed((_LEAD, _ASK))]) + _table(
        "nat", [*_lead_jumps("-D", wiring, _REDIRECT), *_removed((_REDIRECT,))]
    )


def _lead_jumps(verb: str, wiring: Wiring, chain: str) -> list[str]:
    return [f"{verb} PREROUTING -i {interface} -j {chain}" for interface in (wiring.inside, wiring.outside)]


def _place(to: Redirect, family: int) -> str:
    """As DNAT wants it; "" where connections of this family are left alone."""
    address = to.address(family)
    if not address or to.port is None:
        return str(ip_address(address)) if address else ""
    return f"[{ip_address(address)}]:{to.port}" if family == 6 else f"{ip_address(address)}:{to.port}"


def _table(name: str, lines: Iterable[str]) -> str:
    return "\n".join((f"*{name}", *lines, "COMMIT", ""))


def _declared(chains: Iterable[str]) -> list[str]:
    return [f":{chain} - [0:0]" for chain in chains]


def _removed(chains: Iterable[str]) -> list[str]:
    names = tuple(chains)
    return [f"-F {chain}" for chain in names] + [f"-X {chain}" for chain in names]


def _jumps(verb: str, wiring: Wiring) -> list[str]:
    return [
        f"{verb} FORWARD -i {INJECT_INTO} -j {_INJECTED}",
        f"{verb} FORWARD -i {wiring.inside} -o {wiring.outside} -j {_BOX}",
        f"{verb} FORWARD -i {wiring.outside} -o {wiring.inside} -j {_BOX}",
    ]


def _raw_rules(plan: Plan) -> list[str]:
    return [f"-A {_NOTRACK} -j CT --notrack"] if plan.wants else []


def _mangle_rules(plan: Plan, wiring: Wiring, family: int, generation: int) -> list[str]:
    if not plan.wants:
        return []
    now = generation << GENERATION_SHIFT
    decided = OFFLOAD_MASK | GENERATION_MASK
    passed = f"{now | Offload.PASS:#x}/{decided:#x}"
    return [
        *_ttl_rules(family),
        # Where a connection was led elsewhere, that was all that is done to it.
        *([f"-A {_BOX} -m conntrack --ctstate DNAT -j RETURN"] if plan.redirects else []),
        # Nearly every packet of a busy box belongs to a connection that may pass: one rule for those.
        f"-A {_BOX} -p tcp ! --syn -m connmark --mark {passed} -j ACCEPT",
        f"-A {_BOX} -m connmark --mark {now:#x}/{GENERATION_MASK:#x} -j {_DECIDED}",
        f"-A {_BOX} -m mark --mark {ANSWERED:#x}/{ANSWERED:#x} -j {_ANSWERED}",
        # A new connection between the same two ports owes nothing to the old one.
        f"-A {_BOX} -p tcp --syn -m conntrack --ctdir ORIGINAL -j CONNMARK --set-xmark 0x0/{decided | SEEN:#x}",
        *_synack_rules(plan),
        *_empty_rules(plan, family),
        *(f"-A {_BOX} {match} -j {chain}" for want in plan.wants for match, chain in _matches(want)),
        *_decided_rules(plan, now),
        *_answered_rules(now),
        *_data_rules(plan, family),
        *_tls_rules(plan, now, family),
        f"-A {_QUEUE} -m conntrack --ctdir ORIGINAL -j MARK --set-xmark {ORIGINAL:#x}/{ORIGINAL:#x}",
        f"-A {_QUEUE} -m conntrack --ctdir REPLY -j MARK --set-xmark {REPLY:#x}/{REPLY:#x}",
        f"-A {_QUEUE} -m connmark --mark 0x0/{SEEN:#x} -j MARK --set-xmark {FIRST:#x}/{FIRST:#x}",
        f"-A {_QUEUE} -m connmark --mark 0x0/{SEEN:#x} -j CONNMARK --set-xmark {SEEN:#x}/{SEEN:#x}",
        f"-A {_QUEUE} -j NFQUEUE --queue-num {wiring.queue}"
        + (" --queue-bypass" if wiring.fail_open else ""),
    ]


def _ttl_rules(family: int) -> list[str]:
    target = "TTL --ttl-set" if family == 4 else "HL --hl-set"
    return [f"-A {_INJECTED} -m mac --mac-source {mac} -j {target} {ttl}" for ttl, mac in EXACT_TTLS.items()]


def _synack_rules(plan: Plan) -> list[str]:
    """Where a connection begins, for those whose payload is put in order."""
    if not plan.synacks:
        return []
    wanted = [want for want in plan.wants if not want.tls and not want.every_segment]
    return [
        f"-A {_BOX} {match.replace('-p tcp', '-p tcp --tcp-flags SYN,ACK SYN,ACK', 1)} -j {_QUEUE}"
        for want in wanted
        for match, chain in _matches(want)
        if chain == _DATA
    ]


def _empty_rules(plan: Plan, family: int) -> list[str]:
    """Segments without payload, most of those left, go on at once where nobody wants them."""
    if any(want.every_segment for want in plan.wants):
        return []
    wanted = ",".join(name for bit, name in ((SYN, "SYN"), (RST, "RST"), (FIN, "FIN")) if plan.flags & bit)
    flags = f"--tcp-flags {wanted} NONE " if wanted else ""
    return [f'-A {_BOX} -p tcp {flags}-m bpf --bytecode "{EMPTY_BYTECODE[family]}" -j ACCEPT']


def _decided_rules(plan: Plan, now: int) -> list[str]:
    """ICMP errors about a connection (RELATED) are packets of their own and not decided with it. Of a direction that
    may pass, while the other is watched, the box still sees how it ends."""
    rules = [f"-A {_DECIDED} -p tcp --syn -m conntrack --ctdir ORIGINAL -j RETURN"]
    ends = [
        f"-A {_DECIDED} -p tcp --tcp-flags {name} {name} -j RETURN"
        for bit, name in ((RST, "RST"), (FIN, "FIN"))
        if plan.flags & bit
    ]
    for flag, ctdir, target in (
        (Offload.DROP_CLIENT_TO_SERVER, "ORIGINAL", "DROP"),
        (Offload.DROP_SERVER_TO_CLIENT, "REPLY", "DROP"),
        (Offload.PASS_CLIENT_TO_SERVER, "ORIGINAL", "ACCEPT"),
        (Offload.PASS_SERVER_TO_CLIENT, "REPLY", "ACCEPT"),
    ):
        mark = f"{now | flag:#x}/{GENERATION_MASK | flag:#x}"
        if flag is Offload.PASS_CLIENT_TO_SERVER:
            rules += ends
        rules.append(
            f"-A {_DECIDED} -m connmark --mark {mark} "
            f"-m conntrack ! --ctstate RELATED --ctdir {ctdir} -j {target}"
        )
    return rules


def _answered_rules(now: int) -> list[str]:
    """An answer of an older generation decides for its own packet only, and so does one about an ICMP error, which
    conntrack counts to the connection that it quotes (RELATED)."""
    own = f"-m mark --mark {now:#x}/{GENERATION_MASK:#x}"
    stale = f"-m connmark ! --mark {now:#x}/{GENERATION_MASK:#x}"
    clean = f"{now:#x}/{OFFLOAD_MASK | GENERATION_MASK:#x}"
    related = f"-A {_ANSWERED} -m conntrack --ctstate RELATED"
    rules = [
        f"{related} -m mark --mark {DROPPED:#x}/{DROPPED:#x} -j DROP",
        f"{related} -j ACCEPT",
        f"-A {_ANSWERED} {own} {stale} -j CONNMARK --set-xmark {clean}",
    ]
    for bit in range(4):
        flag = 1 << bit
        mark = f"{now | flag:#x}/{GENERATION_MASK | flag:#x}"
        rules.append(f"-A {_ANSWERED} -m mark --mark {mark} -j CONNMARK --set-xmark {flag:#x}/{flag:#x}")
    return [
        *rules,
        f"-A {_ANSWERED} -m mark --mark {DROPPED:#x}/{DROPPED:#x} -j DROP",
        f"-A {_ANSWERED} -j ACCEPT",
    ]


def _data_rules(plan: Plan, family: int) -> list[str]:
    flagged = [
        f"-A {_DATA} -p tcp --tcp-flags {name} {name} -j {_QUEUE}"
        for bit, name in ((SYN, "SYN"), (RST, "RST"), (FIN, "FIN"))
        if plan.flags & bit
    ]
    return [*flagged, f'-A {_DATA} -p tcp -m bpf --bytecode "{PAYLOAD_BYTECODE[family]}" -j {_QUEUE}']


def _tls_rules(plan: Plan, now: int, family: int) -> list[str]:
    """The first payload of a connection decides whether it is TLS, as the dissector would decide it. A box that does
    not look at a connection whose SYN it has not seen gets the SYN, and with it all that follows."""
    passed = f"{now | Offload.PASS:#x}/{OFFLOAD_MASK | GENERATION_MASK:#x}"
    return [
        *([f"-A {_TLS} -p tcp --tcp-flags SYN SYN -j {_QUEUE}"] if plan.flags & SYN else []),
        f"-A {_TLS} -m connmark --mark {SEEN:#x}/{SEEN:#x} -j {_DATA}",
        f'-A {_TLS} -p tcp -m bpf --bytecode "{TLS_BYTECODE[family]}" -j {_QUEUE}',
        f'-A {_TLS} -p tcp -m bpf --bytecode "{PAYLOAD_BYTECODE[family]}" -j {_NOT_TLS}',
        f"-A {_NOT_TLS} -j CONNMARK --set-xmark {passed}",
        f"-A {_NOT_TLS} -j ACCEPT",
    ]


def _matches(want: Want) -> Iterator[tuple[str, str]]:
    """(iptables matches, chain to go to) of one want; more than one where iptables has no "or"."""
    tcp_chain = _QUEUE if want.every_segment else _TLS if want.tls else _DATA
    if want.transport == "other":
        yield "! -p tcp", _QUEUE  # UDP too: one rule cannot exclude both, and to see more is never wrong
        return
    if want.ports is None and want.transport == "any":
        yield "-p tcp", tcp_chain
        yield "! -p tcp", _QUEUE
        return
    for transport in ("tcp", "udp") if want.transport == "any" else (want.transport,):
        chain = tcp_chain if transport == "tcp" else _QUEUE
        if want.ports is None:
            yield f"-p {transport}", chain
            continue
        for ours in _chunks(want.ports):
            for peers in _chunks(want.peer_ports) if want.peer_ports is not None else ("",):
                for here, there in (("dports", "sports"), ("sports", "dports")):
                    match = f"-p {transport} -m multiport --{here} {ours}"
                    yield match + (f" -m multiport --{there} {peers}" if peers else ""), chain


def _chunks(ports: Ports) -> Iterator[str]:
    """Ports as multiport takes them: at most 15 numbers in one match, a range counts as two."""
    chunk: list[str] = []
    used = 0
    for low, high in ports:
        size = 1 if low == high else 2
        if used + size > _MULTIPORT_SLOTS:
            yield ",".join(chunk)
            chunk, used = [], 0
        chunk.append(str(low) if low == high else f"{low}:{high}")
        used += size
    if chunk:
        yield ",".join(chunk)
