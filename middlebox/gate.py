"""The gate: which packets go on at once and which come to user space, as a ruleset for nft.

Pure: it makes text, `firewall` carries it out. It must never let a packet by that a rule could match; when in doubt a
packet is queued. One table, `inet tamperlab`, for both IP versions; nft takes every change of it as a whole.

    gate        forward: what happens to a packet of the box
    lead        prerouting: connections of which user space has to say where they go, only where some rule redirects

And where some rule forges, one chain of the table `netdev tamperlab`:

    untracked   ingress of the injection port: forged packets belong to no connection; no other packet pays for that

nft's own `queue` is missing from some kernels, so the one rule in the chain `to_user` is made by `netfilterrules`.

Sources: nft(8); RFC 8446 5.1 (how a TLS record begins); RFC 9293 3.1 (data offset).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import Final

from middlebox.decision import Offload
from middlebox.gate_copying import END_OF_NOTING, NOTE, WORDS, common_rules, noting_rules
from middlebox.kernel import (
    ANSWERED,
    DROPPED,
    ELEPHANT,
    EXACT_TTLS,
    FIRST,
    GENERATION_MASK,
    GENERATION_SHIFT,
    INJECT_INTO,
    LED,
    OFFLOAD_MASK,
    ORIGINAL,
    REDIRECTED,
    REPLY,
    SEEN,
    STRANGE,
    Wiring,
    redirect_mark,
)
from middlebox.nftables import (
    COMMON_EMPTY,
    COMMON_SYN,
    EMPTY,
    FLAGS,
    HEADER_WORDS,
    IS_NO_SYN,
    IS_SYN,
    RENEWING,
    SHORT,
    connection_mark,
    flags_among,
    listed,
    packet_mark,
)
from middlebox.packet import SYN
from middlebox.profile import Redirect
from middlebox.wants import Plan, Want

TABLE: Final = "tamperlab"
TO_USER: Final = "to_user"
"""The chain whose only rule is the queue."""
ASK: Final = "ask"

ELEPHANT_SAMPLE: Final = 256
"""Of the packets that may pass and are not `SHORT`, one in so many is reported. Chosen: a short exchange rarely meets
both, a bulk transfer does within milliseconds."""

_DROPS: Final = Offload.DROP_CLIENT_TO_SERVER | Offload.DROP_SERVER_TO_CLIENT
_DECIDED: Final = OFFLOAD_MASK | GENERATION_MASK

_UNTRACKED: Final = (
    f"add table netdev {TABLE}",
    f"add chain netdev {TABLE} untracked "
    f'{{ type filter hook ingress device "{INJECT_INTO}" priority 0; policy accept; }}',
    f"flush chain netdev {TABLE} untracked",
    f"add rule netdev {TABLE} untracked notrack",
)
_GATE_CHAIN: Final = {"gate": "type filter hook forward priority -150"}
_LEADING_CHAINS: Final = {
    "lead": "type filter hook prerouting priority -150",
    "elsewhere": "type nat hook prerouting priority -100",
}
_CHAINS: Final = (
    "box", "unasked", "passing", "answered", "decided", "synack", "data", "tls", "not_tls", "ask", "injected",
    "begin", "noted", "speak",
    *(f"tls_{words}" for words in HEADER_WORDS),
)  # fmt: skip


def chains_of(plan: Plan) -> frozenset[str]:
    """The chains of the box's own table that hold the rules of a plan: all but those that `netfilterrules` fills."""
    return frozenset({*_CHAINS, *_hooks(plan)})


def structure_text(plan: Plan) -> str:
    """The tables with the chains of a plan; those that are there already stay, with their rules.

    No chain with a hook is ever taken away while a box runs: the kernel would drop what waits in its queue.
    """
    hooked = [
        f"add chain inet {TABLE} {name} {{ {hook}; policy accept; }}" for name, hook in _hooks(plan).items()
    ]
    plain = [f"add chain inet {TABLE} {name}" for name in (*_CHAINS, TO_USER, NOTE, WORDS)]
    untracked = _UNTRACKED if plan.wants and plan.forges else ()
    return _lines([f"add table inet {TABLE}", *hooked, *plain, *untracked])


def rules_text(plan: Plan, wiring: Wiring, *, generation: int) -> str:
    """The rules of a plan, for chains that are empty."""
    now = generation << GENERATION_SHIFT
    rules = (_box_rules(plan, wiring, now) if plan.wants else {}) | (
        _leading_rules(plan, wiring) if plan.redirects else {}
    )
    return _lines(f"add rule inet {TABLE} {chain} {rule}" for chain, lines in rules.items() for rule in lines)


def flush_text(chains: Iterable[str]) -> str:
    """Nothing comes to user space any more by these; what is there already can be answered."""
    return _lines(f"flush chain inet {TABLE} {chain}" for chain in sorted(chains))


def _hooks(plan: Plan) -> dict[str, str]:
    """Chain -> its hook. Each costs every packet something, so there are only those that the plan needs."""
    gate = _GATE_CHAIN if plan.wants else {}
    return gate | (_LEADING_CHAINS if plan.redirects else {})


def remove_text() -> str:
    """Takes the box's own table away, whether it is there or not; what is in `netdev` goes with the shortcut."""
    return _lines([f"add table inet {TABLE}", f"delete table inet {TABLE}"])


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _box_rules(plan: Plan, wiring: Wiring, now: int) -> dict[str, list[str]]:
    inside, outside = f'"{wiring.inside}"', f'"{wiring.outside}"'
    return {
        "gate": [
            # Nearly all packets are of a few kinds, told from all others by their bytes before conntrack is asked.
            *_common_empties(plan),
            *(common_rules(plan, wiring, now) if plan.words else []),
            *(f"{short} {_passed(plan, now)} accept" for short in SHORT),
            f"iif {inside} oif {outside} goto box",
            f"iif {outside} oif {inside} goto box",
            *([f'iif "{INJECT_INTO}" goto injected'] if plan.forges else []),
        ],
        "injected": [
            f"ether saddr {mac} {field} set {ttl}"
            for ttl, mac in EXACT_TTLS.items()
            for field in ("ip ttl", "ip6 hoplimit")
        ],
        "box": _order_of_questions(plan, now),
        "unasked": _unasked_rules(plan, now),
        # What goes past conntrack goes past address translation too: what is translated is no elephant.
        "passing": [
            f"numgen inc mod {ELEPHANT_SAMPLE} == {ELEPHANT_SAMPLE - 1} ct status & (snat | dnat) == 0 "
            f"{packet_mark(ELEPHANT | now)} goto {TO_USER}",
            "accept",
        ],
        "answered": _answered_rules(),
        "decided": _decided_rules(plan),
        "synack": _synack_rules(plan),
        **(noting_rules(plan, now) if plan.words else {}),
        "data": [*_flag_rules(plan.flags), *_empty_returns(plan), "goto ask"],
        **_tls_rules(plan, now),
        "ask": [
            # What an older generation decided is forgotten before the packet that asks again is answered.
            f"ct mark & {GENERATION_MASK:#x} != {now:#x} {connection_mark(now, _DECIDED)}",
            f"ct direction original {packet_mark(ORIGINAL)}",
            f"ct direction reply {packet_mark(REPLY)}",
            f"ct status & confirmed == 0 {packet_mark(STRANGE)}",
            f"ct mark & {SEEN:#x} == 0 {packet_mark(FIRST)} {connection_mark(SEEN, SEEN)}",
            *(END_OF_NOTING if wiring.takes_copies else ()),
            f"goto {TO_USER}",
        ],
    }


def _common_empties(plan: Plan) -> list[str]:
    """Nobody wants them, whatever has been decided about their connections, unless it is to be dropped."""
    if any(want.every_segment for want in plan.wants):
        return []
    unwanted = flags_among({name: 0 for name, bit in FLAGS.items() if (plan.flags | SYN) & bit})
    syns = [] if plan.flags & SYN else [f"{syn} ct mark 0 accept" for syn in COMMON_SYN]
    return [*(f"{empty} {unwanted} ct mark & {_DROPS:#x} == 0 accept" for empty in COMMON_EMPTY), *syns]


def _passed(plan: Plan, now: int) -> str:
    """Matches TCP segments that belong to a connection that may pass, and begin no new one."""
    goes_on = flags_among({"syn": 0, "rst": 0}) if plan.renews else IS_NO_SYN
    return f"ct mark & {_DECIDED:#x} == {now | Offload.PASS:#x} {goes_on}"


def _order_of_questions(plan: Plan, now: int) -> list[str]:
    """About a packet that goes through the box. Most that get here are of connections without a mark as yet: about
    these nothing has been decided or asked."""
    asks_again = f"{RENEWING} != 0 meta mark & {ANSWERED:#x} == 0 {connection_mark(0, _DECIDED)}"
    return [
        # Where a connection was led elsewhere, that was all that is done to it.
        *(["ct status & dnat == dnat accept"] if plan.redirects else []),
        "ct mark 0 goto unasked",
        f"meta l4proto tcp {_passed(plan, now)} goto passing",
        # A new connection between the same two ports owes nothing to the old one.
        f"{IS_SYN} meta mark & {ANSWERED:#x} == 0 ct direction original {connection_mark(0, _DECIDED | SEEN)}",
        *([asks_again] if plan.renews else []),
        f"ct mark & {GENERATION_MASK:#x} == {now:#x} jump decided",
        f"meta mark & {ANSWERED:#x} == {ANSWERED:#x} goto answered",
        "goto unasked",
    ]


def _unasked_rules(plan: Plan, now: int) -> list[str]:
    """About a packet of which nothing is known but itself: who wants it."""
    return [
        *(["tcp flags & (syn | ack) == (syn | ack) jump synack"] if plan.synacks else []),
        *_empty_rules(plan),
        *(f"{match} {verdict}" for want in plan.wants for match, verdict in _matches(want)),
    ]


def _answered_rules() -> list[str]:
    """An answer about an ICMP error, which conntrack counts to the connection that it quotes (related), decides for its
    own packet only."""
    flags = [1 << bit for bit in range(OFFLOAD_MASK.bit_length())]
    return [
        *(
            f"meta mark & {flag:#x} == {flag:#x} ct state != related {connection_mark(flag, flag)}"
            for flag in flags
        ),
        f"meta mark & {DROPPED:#x} == {DROPPED:#x} drop",
        "accept",
    ]


def _empty_rules(plan: Plan) -> list[str]:
    """Segments without payload, most of those left, go on at once where nobody wants them."""
    if any(want.every_segment for want in plan.wants):
        return []
    wanted = " | ".join(name for name, bit in FLAGS.items() if plan.flags & bit)
    unless = f"tcp flags & ({wanted}) == 0 " if wanted else ""
    return [f"{unless}{empty} accept" for empty in EMPTY]


def _empty_returns(plan: Plan) -> list[str]:
    """The same where some of them are wanted: those that are left."""
    some_wanted = plan.flags or any(want.every_segment for want in plan.wants)
    return [f"{empty} return" for empty in EMPTY] if some_wanted else []


def _synack_rules(plan: Plan) -> list[str]:
    """Where a connection begins, for those whose payload is put in order."""
    if not plan.synacks:
        return []
    wanted = [want for want in plan.wants if not want.tls and not want.every_segment]
    matches = [match for want in wanted for match, verdict in _matches(want) if verdict == "jump data"]
    return [f"{match} goto ask" for match in matches]


def _flag_rules(flags: int) -> list[str]:
    return [f"tcp flags & {name} == {name} goto ask" for name, bit in FLAGS.items() if flags & bit]


def _decided_rules(plan: Plan) -> list[str]:
    """ICMP errors about a connection (related) are packets of their own and not decided with it. Of a direction that
    may pass, while the other is watched, the box still sees how it ends."""
    ends = [f"tcp flags & {name} == {name} return" for name in ("rst", "fin") if plan.flags & FLAGS[name]]

    def when(flag: Offload, direction: str, verdict: str) -> str:
        return f"ct mark & {flag:#x} == {flag:#x} ct state != related ct direction {direction} {verdict}"

    return [
        when(Offload.DROP_CLIENT_TO_SERVER, "original", "drop"),
        when(Offload.DROP_SERVER_TO_CLIENT, "reply", "drop"),
        *ends,
        when(Offload.PASS_CLIENT_TO_SERVER, "original", "accept"),
        when(Offload.PASS_SERVER_TO_CLIENT, "reply", "accept"),
    ]


def _tls_rules(plan: Plan, now: int) -> dict[str, list[str]]:
    """The first payload of a connection decides whether it is TLS, as the dissector would decide it: a content type
    from 20 to 23 and the major version 3, as far as they are there. A box that does not look at a connection whose SYN
    it has not seen gets the SYN, and with it all that follows."""
    by_offset = ", ".join(f"{words} : goto tls_{words}" for words in HEADER_WORDS)
    return {
        "tls": [
            *_flag_rules(plan.flags & SYN),
            f"ct mark & {SEEN:#x} == {SEEN:#x} goto data",
            *_empty_returns(plan),
            f"tcp doff vmap {{ {by_offset} }}",
            "goto ask",
        ],
        **{
            f"tls_{words}": [
                f"@th,{32 * words},8 != 20-23 goto not_tls",
                f"@th,{32 * words + 8},8 != 3 goto not_tls",
                "goto ask",
            ]
            for words in HEADER_WORDS
        },
        "not_tls": [connection_mark(now | Offload.PASS, _DECIDED), "accept"],
    }


def _leading_rules(plan: Plan, wiring: Wiring) -> dict[str, list[str]]:
    """Asked about before nat, which then finds the answer's mark."""
    beginning = f'iif {{ "{wiring.inside}", "{wiring.outside}" }} ct state new ct mark & {LED:#x} == 0'
    asked = f"{connection_mark(LED, LED)} goto {TO_USER}"
    places = [
        f"meta mark & {REDIRECTED | GENERATION_MASK:#x} == {redirect_mark(plan, to):#x} meta l4proto {transport} "
        f"dnat {protocol} to {place}"
        for to in plan.redirects
        for family, protocol in ((4, "ip"), (6, "ip6"))
        if (place := _place(to, family))
        for transport in ("tcp", "udp")
    ]
    return {
        "lead": [f"{beginning} {match} {asked}" for want in plan.led for match, _ in _matches(want)],
        "elsewhere": places,
    }


def _place(to: Redirect, family: int) -> str:
    """As nft wants it; "" where connections of this family are left alone."""
    address = to.address(family)
    if not address or to.port is None:
        return str(ip_address(address)) if address else ""
    return f"[{ip_address(address)}]:{to.port}" if family == 6 else f"{ip_address(address)}:{to.port}"


def _matches(want: Want) -> Iterator[tuple[str, str]]:
    """(nft matches, verdict) of one want."""
    tcp = "goto ask" if want.every_segment else f"jump {_chain_of(want)}"
    if want.transport == "other":
        yield "meta l4proto != { tcp, udp }", "goto ask"
        return
    if want.transport == "any" and want.ports is None:
        yield "meta l4proto tcp", tcp
        yield "meta l4proto != tcp", "goto ask"
        return
    for transport in ("tcp", "udp") if want.transport == "any" else (want.transport,):
        verdict = tcp if transport == "tcp" else "goto ask"
        if want.ports is None:
            yield f"meta l4proto {transport}", verdict
            continue
        for ours, peers in (("dport", "sport"), ("sport", "dport")):
            match = f"{transport} {ours} {listed(want.ports)}"
            if want.peer_ports is not None:
                match += f" {transport} {peers} {listed(want.peer_ports)}"
            yield match, verdict


def _chain_of(want: Want) -> str:
    """Which asks about those segments of a connection that are wanted."""
    return "tls" if want.tls else "begin" if want.words else "data"
