"""Where tshark and a box are of different opinion about a filter in a run: which scenario, which filter, and why.

Everything else is compared, packet for packet. docs/filters.md has this table for users; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Exempt:
    """why: ends the sentence "not compared, since"; filters: `profile/name`, as `tamperlab check` would name it."""

    why: str
    filters: tuple[str, ...]


_CASES = (
    "clayton-2006/reset-both-on-keyword, case 1 of its residual",
    "gfw-2010/type-2, case 2 of its residual",
    "gfw-2010/type-2a, case 2 of its residual",
    "gfw-2017/second-injector, case 2 of its residual",
    "gfw-2017-first-syn-counts/second-injector, case 2 of its residual",
    "iran-null/drop-after-sni, case 1 of its residual",
    "iran-null/drop-after-host, case 1 of its residual",
    "kazakhstan-null/drop-after-sni, case 1 of its residual",
    "kazakhstan-null/drop-after-host, case 1 of its residual",
)
_NOTICE = (
    "gfw-2017/notice-sensitive-request",
    "gfw-2017-first-syn-counts/notice-sensitive-request",
    "knob-base/see-word",
)
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

EXEMPT: Mapping[str, tuple[Exempt, ...]] = {
    "gfw-2010": (
        Exempt(
            "segments overlap, and the box takes the first copy of a byte",
            ("gfw-2010/type-1", "gfw-2010/type-1a", "gfw-2010/type-2", "gfw-2010/type-2a"),
        ),
    ),
    "gfw-2017": (
        Exempt(
            "a word that ends in the next segment is found there, which Wireshark does only after reassembly",
            ("watch-keyword/reset-both-on-keyword",),
        ),
    ),
    "gfw-2017-resync": (Exempt("behind a second SYN tshark takes the numbers for wrong, and reads no more", _NOTICE),),
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
    "tcp-knobs": (
        Exempt("tshark reads no flags in a TCP header with a wrong data offset", _CASES),
        Exempt(
            "segments overlap, overtake and contradict each other: every box reads them in its way, and so does tshark",
            (*_NOTICE, "watch-keyword/reset-both-on-keyword"),
        ),
    ),
    "tmobile-uk-2012-vpn": (
        Exempt(
            "tshark gives a connection over to TLS as soon as OpenVPN over TCP has TLS in it",
            ("tmobile-uk-2012-vpn/drop-openvpn",),
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


def exempt_filters(slug: str) -> frozenset[str]:
    """What is not compared in the run of a scenario."""
    return frozenset(name for exempt in EXEMPT.get(slug, ()) for name in exempt.filters)
