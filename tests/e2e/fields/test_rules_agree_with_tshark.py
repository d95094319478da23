"""Every filter of every profile, on what came to the box in every run: the packets that tshark shows, no other.

Each rule is asked by a box that reads everything and punishes nobody: how a profile reads TCP is no part of a filter.
Filters with fields of our own are not for Wireshark: `tamperlab check` and docs/filters.md list them, and the latter
what `exempt.py` leaves out.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from middlebox.filters import compile_filter
from middlebox.load import load_deployment, load_profile, profile_names
from middlebox.packet import ACK, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_UDP, PSH, SYN, decode, tcp_segment
from scenarios.captures import Captured, read_capture
from scenarios.filecheck import filters_of
from scenarios.load import SCENARIOS, scenario_slugs
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.exempt import AT_ODDS, ON_ANY_PORT, PORTS, READ_ONCE, at_odds, ends_of, exempt_filters
from tests.e2e.fields.finished import INSIDE, Run, is_from
from tests.e2e.test_scenarios import skip_without_servers
from tests.property.test_dissect_rules import frames_that_set_off
from tests.property.test_filters_oracle import tshark
from tests.unit.dissect_kit import TSHARK_OPTIONS, ip_packets_of
from tests.unit.filter_kit import Flow

pytestmark = [
    pytest.mark.tshark_4_0,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not there; make setup-servers installs it"),
]  # fmt: skip

REPEATED = "tcp.analysis.retransmission"
ABOUT_DATAGRAMS = re.compile(r"\b(?:quic|udp|wg|isakmp|l2tp|esp)\b")


@dataclass(frozen=True)
class Asked:
    """What profiles ask. case: of single packets, as the cases of a residual are; names: those who ask it, as
    profile/filter."""

    text: str
    case: bool
    names: frozenset[str]


@cache
def all_asked() -> list[Asked]:
    """Every filter of the shipped profiles and of those beside a scenario that is for Wireshark, each text once."""
    files = [path for path in sorted(SCENARIOS.rglob("*.yaml")) if path.name != "scenario.yaml"]
    profiles = [
        *map(load_profile, profile_names()),
        *(p for f in files for p in load_deployment(f).profiles()),
    ]
    asked: dict[tuple[str, bool], set[str]] = {}
    for profile in profiles:
        for rule in profile.rules:
            for name, when in filters_of(rule):
                if when.needs.wireshark:
                    key = " ".join(when.text.split()), when is not rule.when
                    asked.setdefault(key, set()).add(f"{profile.name}/{name}")
    return [Asked(text, case, frozenset(names)) for (text, case), names in asked.items()]


def came_in(run: Run, folder: Path) -> str:
    """What came to the box from both sides, in order, as a capture file of its own; less what `AT_ODDS` leaves out."""
    captures = run.directory / "captures"
    packets = [
        c
        for place, inside in (("box-inside", True), ("box-outside", False))
        for c in read_capture(captures / f"{place}.pcapng")
        if is_from(INSIDE, c.packet) is inside
    ]
    packets.sort(key=lambda captured: captured.time_ns)
    if run.result["scenario"] in AT_ODDS:
        odd = at_odds(captured.packet for captured in packets)
        assert odd, "they are all in order now; take it out of exempt.py and docs/filters.md"
        packets = [captured for captured in packets if ends_of(captured.packet) not in odd]
    return as_file(packets, folder / "came-in.pcap")


def as_file(packets: Sequence[Captured], path: Path) -> str:
    """These packets as a capture file on Ethernet; returns its path."""
    link = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
    types = {4: 0x0800, 6: 0x86DD}
    wrpcap(str(path), [Ether(type=types[c.packet.version], **link) / c.packet.data for c in packets])
    return str(path)


def shown_here(text: str, shown: list[int], packets: list[bytes]) -> list[int]:
    """What of tshark's frames (from 0) a box looks at: names in QUIC only where a rule names a protocol over UDP, and
    of an ICMP error never what it quotes (docs/filters.md)."""
    without = {PROTOCOL_ICMP, PROTOCOL_ICMPV6}
    if "tls" in text and not ABOUT_DATAGRAMS.search(text):
        without.add(PROTOCOL_UDP)
    decoded = {number: decode(packets[number]) for number in shown}
    return [number for number, p in decoded.items() if p is not None and p.protocol not in without]


def set_off(asked: Asked, capture: str) -> list[int]:
    """The frames (from 0) at which a box acts: by a rule, or to whom it punishes by a case."""
    if not asked.case:
        return frames_that_set_off(asked.text, capture)
    matches = compile_filter(asked.text).matches
    decoded = map(decode, ip_packets_of(capture))
    return [number for number, p in enumerate(decoded) if p is not None and matches(p, Flow(), {})]


@pytest.mark.parametrize("slug", scenario_slugs())
def test_filters_are_true_of_the_packets_that_tshark_shows(
    slug: str, finished_run: FinishedRun, tmp_path: Path
) -> None:
    """Both ways, for every rule and every case of a residual; and what is exempt still has to be."""
    skip_without_servers(slug, postfix=False)
    capture = came_in(finished_run(slug), tmp_path)
    packets = ip_packets_of(capture)
    every = all_asked()
    options = (*TSHARK_OPTIONS, *ON_ANY_PORT, *PORTS.get(slug, ()))
    *theirs, repeated = tshark([*(asked.text for asked in every), REPEATED], packets, tmp_path, options)
    unread = set(repeated or ()) if slug in READ_ONCE else set()
    exempt, differ, failures = exempt_filters(slug), set(), []
    for asked, shown in zip(every, theirs, strict=True):
        assert shown is not None, f"tshark refuses {asked}"
        theirs_here = shown_here(asked.text, shown, packets)
        ours = [n for n in set_off(asked, capture) if n not in unread or n in theirs_here]
        if ours != theirs_here:
            differ |= asked.names
            if not asked.names & exempt:
                failures.append(f"{asked}\n  ours {ours}\n  tshark {theirs_here}")
    assert failures == []
    assert exempt - differ == set(), "they agree now; take them out of exempt.py and docs/filters.md"


def test_tshark_does_not_read_what_it_takes_for_a_repetition(tmp_path: Path) -> None:
    """The answer to EHLO was lost ahead of the box, the bare ACK behind it was not; then the answer came again."""
    ehlo, answer = b"EHLO sim1.example\r\n", b"250-mail.example\r\n250 STARTTLS\r\n"
    client, server = (b"\xcb\0\x71\x01", 40000), (b"\xc6\x33\x64\x19", 587)

    def segment(src: tuple[bytes, int], seq: int, ack: int, flags: int, payload: bytes = b"") -> bytes:
        dst = server if src == client else client
        return tcp_segment(
            src=src[0], dst=dst[0], sport=src[1], dport=dst[1], seq=seq, ack=ack, flags=flags, window=500, ttl=64,
            payload=payload,
        )  # fmt: skip

    asked, answered = 101 + len(ehlo), 901 + len(answer)
    packets = [
        segment(client, 100, 0, SYN),
        segment(server, 900, 101, SYN | ACK),
        segment(client, 101, 901, ACK),
        segment(client, 101, 901, ACK | PSH, ehlo),
        segment(server, answered, asked, ACK),
        segment(server, 901, asked, ACK | PSH, answer),
    ]
    capture = tmp_path / "lost.pcap"
    wrpcap(str(capture), [Ether(type=0x0800) / packet for packet in packets])
    rule = "smtp.response.code == 250"
    shown, repeated = tshark([rule, REPEATED], packets, tmp_path, TSHARK_OPTIONS)
    assert (shown, repeated) == ([], [5])
    assert frames_that_set_off(rule, str(capture)) == [5]
