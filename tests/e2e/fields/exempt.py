"""Where tshark and a box are of different opinion about a filter in a run: which scenario, which filter, and why.

Everything else is compared, packet for packet. docs/filters.md has this table for users; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from middlebox.packet import ACK, FIN, PROTOCOL_TCP, SYN, Packet

HEADER_WORDS = 5
"""The least that a TCP header has (RFC 9293 3.1)."""


@dataclass(frozen=True)
class Exempt:
    """why: ends the sentence "not compared, since"; filters: `profile/name`, as `tamperlab check` would name it."""

    why: str
    filters: tuple[str, ...]


_OPENVPN = ("gfw-2017/notice-sensitive-request", "tmobile-uk-2012-vpn/drop-openvpn")
_NAMES = (
    "airtel/be-blind-after-a-name",
    "gfw-2021/notice-blocked-name",
    "gfw-2021/primary-on-client-hello",
    "gfw-2024/first-injector",
    "gfw-2024/second-injector",
    "gfw-2024/third-injector",
    "iran-null/drop-after-sni",
    "kazakhstan-null/drop-after-sni",
    "knob-base/see-name",
    "south-korea/reset-both-with-changing-ack",
    "watch-sni/reset-both-on-blocked-sni",
)

_ACROSS_SEGMENTS = Exempt(
    "a word that ends in the next segment is found there, which Wireshark does only after reassembly",
    ("watch-keyword/reset-both-on-keyword",),
)

EXEMPT: Mapping[str, tuple[Exempt, ...]] = {
    "fair-use": (
        Exempt("on one port tshark takes OpenVPN or PPTP, not both", ("tmobile-uk-2012-vpn/drop-pptp",)),
    ),
    "gfw-2017": (
        _ACROSS_SEGMENTS,
        Exempt("tshark looks for OpenVPN over TCP on its own port only", _OPENVPN),
    ),
    "port-25-redirect": (
        Exempt(
            "the greeting comes from another address than the client has called: no connection of the box's",
            ("cisco-esmtp/mask-banner",),
        ),
    ),
    "sandvine": (
        Exempt(
            "tshark knows no BitTorrent handshake whose first segment has 15 bytes",
            ("sandvine/reset-both-on-bittorrent-handshake",),
        ),
    ),
    "tcp-knobs": (_ACROSS_SEGMENTS,),
    "tmobile-uk-2012-vpn": (
        Exempt(
            "tshark gives a connection over to TLS as soon as OpenVPN over TCP has TLS in it",
            _OPENVPN,
        ),
    ),
    "tspu-throttle": (Exempt("names stand behind something else: tshark looks for TLS anew in each segment", _NAMES),),
}  # fmt: skip
"""Scenario -> what is not compared in its run."""

READ_ONCE: Mapping[str, str] = {
    "stripper-lossy": "a segment may be lost ahead of the box and the bare ACK behind it arrive: what is sent again"
    " then is new to the box only",
    "turkmenistan": "the same packet is sent again without a connection",
}
"""Scenario -> why a box reads what tshark takes for a repetition, which it does not read (only these packets are left
out)."""

_ODD = (
    "segments overlap, overtake or contradict each other, have no right header, or begin with the answer: every box"
    " reads them in its way, and so does tshark"
)
AT_ODDS: Mapping[str, str] = dict.fromkeys(
    ("gfw-2010", "gfw-2017-resync", "gfw-2021", "gfw-2024", "tcp-knobs"), _ODD
)
"""Scenario -> why connections with such segments, and only these, are left out."""

ON_ANY_PORT = (
    *("-o", "tcp.try_heuristic_first:TRUE", "-o", "udp.try_heuristic_first:TRUE"),
    *("--enable-heuristic", "tls_tcp", "--disable-protocol", "lanforge"),
    *("-d", "udp.port==17010,l2tp", "-d", "udp.port==15000,isakmp"),
)
"""Options of tshark that let it look for TLS, HTTP and BitTorrent on any port, as the box does, and for L2TP and
IKE on the lab's; without a protocol that takes PPTP for its own."""

PORTS: Mapping[str, tuple[str, ...]] = {
    "fair-use": ("-d", "tcp.port==7000,openvpn"),
    "tmobile-uk-2012-vpn": ("-d", "tcp.port==7000,pptp"),
}
"""Scenario -> what is spoken on a port where tshark does not look for it, as options of its own."""


def at_odds(packets: Iterable[Packet]) -> frozenset[frozenset[tuple[bytes, int]]]:
    """The connections, by their two ends, in which a segment is not the next one of its end or has no right header, or
    of which a SYN+ACK is the first that is seen."""
    found, known, next_seq = set(), set(), dict[tuple[bytes, int, bytes, int], int]()
    for p in packets:
        if p.protocol != PROTOCOL_TCP:
            continue
        sender = (p.src, p.sport, p.dst, p.dport)
        length = len(p.payload) + bool(p.flags & SYN) + bool(p.flags & FIN)
        begins_with_answer = ends_of(p) not in known and p.flags & (SYN | ACK) == SYN | ACK
        is_next = not length or next_seq.get(sender, p.seq) == p.seq
        if begins_with_answer or not is_next or p.data[p.l4 + 12] >> 4 < HEADER_WORDS:
            found.add(ends_of(p))
        known.add(ends_of(p))
        if length:
            next_seq[sender] = (p.seq + length) & 0xFFFFFFFF
    return frozenset(found)


def ends_of(p: Packet) -> frozenset[tuple[bytes, int]]:
    return frozenset({(p.src, p.sport), (p.dst, p.dport)})


def exempt_filters(slug: str) -> frozenset[str]:
    """What is not compared in the run of a scenario."""
    return frozenset(name for exempt in EXEMPT.get(slug, ()) for name in exempt.filters)
