"""Every rule of every shipped profile, on what came to the box in every run: the packets that tshark shows, no other.

Each rule is asked by a box that reads everything and punishes nobody: how a profile reads TCP is no part of a filter.
Rules with fields of our own are not for Wireshark, and are listed by `tamperlab check`.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from middlebox.packet import ACK, PROTOCOL_ICMP, PROTOCOL_ICMPV6, PROTOCOL_UDP, PSH, SYN, decode, tcp_segment
from scenarios.captures import Captured, read_capture
from scenarios.load import load_scenario, scenario_slugs
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import INSIDE, Run, is_from
from tests.e2e.fields.test_rules_in_wireshark import ON_ANY_PORT, UNSEEN
from tests.e2e.test_scenarios import skip_without_servers
from tests.property.test_dissect_rules import frames_that_set_off
from tests.property.test_filters_oracle import tshark
from tests.property.test_shipped_rules import shipped
from tests.unit.dissect_kit import TSHARK_OPTIONS, ip_packets_of

pytestmark = [
    pytest.mark.tshark_4_0,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not there; make setup-servers installs it"),
]  # fmt: skip

READ_OTHERWISE = {
    "tcp-knobs": "segments that overlap, overtake or contradict each other: boxes read them differently",
    "gfw-2024": "bad checksums, data offsets of 0 and segments that overtake each other, too",
    "gfw-2017-resync": "SYNs and numbers that mean nothing: they lead tshark astray, too",
    "turkmenistan": "the same packet twice without a connection: tshark dissects once what is sent again",
    "tspu-throttle": "names behind something else: tshark looks for TLS anew in each segment",
    "tmobile-uk-2012-vpn": "VPNs on any port: tshark looks for some of them on their own port only",
    "tmobile-uk-2012-vpn-dialup": "the same",
    "port-25-redirect": "what comes in from outside has another address than the client has called",
}
"""Scenarios that tshark cannot be asked about, and why."""

ACROSS_SEGMENTS = {
    (
        "watch-keyword",
        "reset-both-on-keyword",
    ): "a word that ends in the next segment is found there; see docs/filters.md",
}
"""(Profile, rule) -> why its matches are more than tshark's."""

REPEATED = "tcp.analysis.retransmission"
LOSES_SEGMENTS = ("stripper-lossy",)
"""A segment may be lost ahead of the box and the bare ACK behind it arrive: what is sent again then, though the box has
never seen it, is for tshark a repetition, which it does not read (see the last test here)."""

SLUGS = [
    slug
    for slug in scenario_slugs()
    if load_scenario(slug).truth == "tampered" and slug not in READ_OTHERWISE
]


def came_in(run: Run, folder: Path) -> str:
    """What came to the box from both sides, in order, as a capture file of its own."""
    captures = run.directory / "captures"
    packets = [
        c
        for place, inside in (("box-inside", True), ("box-outside", False))
        for c in read_capture(captures / f"{place}.pcapng")
        if is_from(INSIDE, c.packet) is inside
    ]
    packets.sort(key=lambda captured: captured.time_ns)
    return as_file(packets, folder / "came-in.pcap")


def as_file(packets: Sequence[Captured], path: Path) -> str:
    """These packets as a capture file on Ethernet; returns its path."""
    link = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
    types = {4: 0x0800, 6: 0x86DD}
    wrpcap(str(path), [Ether(type=types[c.packet.version], **link) / c.packet.data for c in packets])
    return str(path)


def shown_here(text: str, shown: list[int] | None, packets: list[bytes]) -> list[int] | None:
    """What of tshark's frames (from 0) a box looks at: names in QUIC only where a rule names quic or udp,
    and of an ICMP error never what it quotes (docs/filters.md)."""
    if shown is None:
        return None
    without = {PROTOCOL_ICMP, PROTOCOL_ICMPV6}
    if "quic" not in text and "udp" not in text:
        without.add(PROTOCOL_UDP)
    decoded = {number: decode(packets[number]) for number in shown}
    return [number for number, p in decoded.items() if p is not None and p.protocol not in without]


def comparable() -> dict[str, str]:
    """What rules ask -> the rules, without those that tshark is known not to see."""
    unseen = {f"{profile}/{rule}" for profile, rule in (*UNSEEN, *ACROSS_SEGMENTS)}
    return {text: rules for text, rules in shipped().items() if not unseen & set(rules.split())}


@pytest.mark.parametrize("slug", SLUGS)
def test_rules_are_set_off_by_the_packets_that_tshark_shows(
    slug: str, finished_run: FinishedRun, tmp_path: Path
) -> None:
    """Both ways: nothing that tshark shows is missed, and nothing else sets a rule off."""
    skip_without_servers(slug, postfix=False)
    capture = came_in(finished_run(slug), tmp_path)
    rules = comparable()
    packets = ip_packets_of(capture)
    *theirs, repeated = tshark([*rules, REPEATED], packets, tmp_path, (*TSHARK_OPTIONS, *ON_ANY_PORT))
    unread = set(repeated or ()) if slug in LOSES_SEGMENTS else set()
    different = []
    for text, shown in zip(rules, theirs, strict=True):
        theirs_here = shown_here(text, shown, packets)
        ours = [n for n in frames_that_set_off(text, capture) if n not in unread or n in (theirs_here or ())]
        if ours != theirs_here:
            different.append(f"{rules[text]}: {text}\n  ours {ours}\n  tshark {theirs_here}")
    assert different == []


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
