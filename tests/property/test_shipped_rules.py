"""Every filter of a rule or a residual in a shipped profile, against tshark: the same packets, to the last one.

A rule that no conversation here sets off fails too: whoever ships a profile adds one. Rules with
fields of our own (`flow.marks`, `payload.popcount`) are not for Wireshark; each has its own test.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet
from scapy.utils import wrpcap

from middlebox.load import load_profile, profile_names
from scenarios.filecheck import filters_of
from tests.property.test_dissect_rules import frames_that_set_off
from tests.property.test_filters_oracle import tshark
from tests.unit.dissect_kit import TSHARK_OPTIONS, ip_packets_of
from tests.unit.quic_bytes import crypto, initial
from tests.unit.tls_bytes import client_hello, record

pytestmark = pytest.mark.tshark_4_0

Conversation = tuple[int, list[tuple[str, bytes]]]
"""The server's port, and what is said after the handshake. C: the client sends a segment, S: the server."""

RECORDED: dict[str, dict[int, str]] = {
    "smtp.pcap": {},
    "imap.pcap": dict.fromkeys((14, 38), "the text of a mail, which tshark reads as commands"),
    "pop.pcap": dict.fromkeys(
        (11, 32, 53, 142), "the answer to AUTH's challenge, which tshark takes for a command"
    ),
    "http.pcap": {},
    "dns.pcap": {},
    "tls.pcap": {},
    "ssh.pcap": {},
    "openvpn.pcap": {},
    "wireguard.pcap": {},
    "ike-l2tp.pcap": {},
    "dialogue-vpn-datagrams.pcap": {},
    "dialogue-pptp.pcap": {},
}
"""Captures of tests/data/dissect, for what the conversations below do not do, and the frames (from 0) that
tshark misreads."""


def hello(name: str) -> bytes:
    return record(22, client_hello(name), 0x0301)


def smtp(port: int) -> Conversation:
    """Two mails, one after the other, then TLS."""
    return port, [
        ("S", b"220 mail.example ESMTP\r\n"),
        ("C", b"EHLO sim1.example\r\n"),
        ("S", b"250-mail.example\r\n"),
        ("S", b"250-STARTTLS\r\n"),
        ("S", b"250 HELP\r\n"),
        ("C", b"MAIL FROM:<alice@mail.example>\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"RCPT TO:<falun@mail.example>\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"RSET\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"MAIL FROM: <xiazai@upup.info>\r\n"),
        ("S", b"250 ok\r\n"),
        ("C", b"starttls\r\n"),
        ("S", b"220 go\r\n"),
        ("C", hello("mail.example")),
    ]


def get(target: str, host: str, port: int = 80) -> Conversation:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    return port, [("C", f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()), ("S", answer)]


def tls(name: str, port: int = 443) -> Conversation:
    return port, [("C", hello(name))]


def question(name: str) -> bytes:
    return bytes(DNS(id=7, rd=1, qd=DNSQR(qname=name)))


def quic_initial(name: str, ip_version: int) -> bytes:
    """The first datagram of a connection; each has an ID of its own."""
    connection_id = f"{ip_version}{name}".encode().ljust(20)[:20]
    frames = crypto(0, client_hello(name)).ljust(1162, b"\x00")
    return initial(frames, dcid=connection_id, keys_from=connection_id)


NAMES = ("web.example", "blocked.example", "www.blocked.example", "a.b.blocked.example", "unblocked.example")

CONVERSATIONS: list[Conversation] = [
    smtp(25), smtp(587), smtp(2525),
    tls("mail.example", 465),
    *(tls(name) for name in (*NAMES, "adult.example", "webmail.example")),
    *(get("/", name) for name in (*NAMES, "adult.example", "blocked.example:80")),
    # twice, since some rules ask whether the client's port is even
    get("/?falun", "web.example"), get("/?falun", "web.example"), get("/falun/", "web.example"),
    get("/ultrasurf", "web.example"), get("http://web.example/a-proxy", "web.example"), get("/", "proxy.example"),
    (143, [
        ("S", b"* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"),
        ("C", b"a1 CAPABILITY\r\n"),
        ("S", b"* CAPABILITY IMAP4rev1 STARTTLS\r\n"),
        ("S", b"a1 OK\r\n"),
        ("C", b"a2 SEARCH SUBJECT ultrasurf\r\n"),
        ("S", b"a2 BAD\r\n"),
        ("C", b"a3 STARTTLS\r\n"),
        ("S", b"a3 OK begin\r\n"),
        ("C", hello("mail.example")),
    ]),
    (110, [
        ("S", b"+OK ready\r\n"),
        ("C", b"CAPA\r\n"),
        ("S", b"+OK list\r\nSTLS\r\nUSER\r\n.\r\n"),
        ("C", b"NOOP\r\n"),
        ("S", b"+OK\r\n"),
        ("C", b"STLS\r\n"),
        ("S", b"+OK begin\r\n"),
        ("C", hello("mail.example")),
    ]),
    *((53, [("C", len(asked).to_bytes(2, "big") + asked)]) for asked in map(question, NAMES)),
    (6881, [("C", b"\x13BitTorrent protocol" + bytes(8) + b"\x01" * 20 + b"-TR3000-" + b"a" * 12)]),
    (9999, [("C", b"nothing"), ("S", b"who said ultrasurf here?"), ("C", b"ultra")]),
]  # fmt: skip


class Recorder:
    """Connections as packets with an Ethernet header, each from a client port of its own."""

    def __init__(self) -> None:
        self.frames: list[Packet] = []
        self._port = 40_000

    def datagrams(self, version: int, server_port: int, asked: bytes, answered: bytes = b"") -> None:
        self._port += 1
        self._send(version, True, UDP(sport=self._port, dport=server_port) / asked)
        if answered:
            self._send(version, False, UDP(sport=server_port, dport=self._port) / answered)

    def connection(self, version: int, conversation: Conversation) -> None:
        server_port, said = conversation
        self._port += 1
        seq = {"C": 1000, "S": 9000}
        for sender, flags, payload in [
            ("C", "S", b""), ("S", "SA", b""), ("C", "A", b""), *((who, "PA", words) for who, words in said),
            ("C", "FA", b""),
        ]:  # fmt: skip
            ports = (self._port, server_port) if sender == "C" else (server_port, self._port)
            ack = seq["S" if sender == "C" else "C"] if "A" in flags else 0
            segment = TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq[sender], ack=ack)
            self._send(version, sender == "C", segment / payload)
            seq[sender] += len(payload) + ("S" in flags)

    def _send(self, version: int, to_server: bool, transport: Packet) -> None:
        client, server = (
            ("192.0.2.11", "203.0.113.25") if version == 4 else ("2001:db8:1::11", "2001:db8:3::25")
        )
        src, dst = (client, server) if to_server else (server, client)
        header = IP(src=src, dst=dst) if version == 4 else IPv6(src=src, dst=dst)
        self.frames.append(Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / header / transport)


@pytest.fixture(scope="module")
def conversations(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All conversations, over both IP versions, as a capture file."""
    recorder = Recorder()
    for version in (4, 6):
        for conversation in CONVERSATIONS:
            recorder.connection(version, conversation)
        for name in NAMES:
            reply = DNS(id=7, qr=1, qd=DNSQR(qname=name), an=DNSRR(rrname=name, rdata="203.0.113.80"))
            recorder.datagrams(version, 53, question(name), bytes(reply))
    path = tmp_path_factory.mktemp("conversations") / "conversations.pcap"
    wrpcap(str(path), recorder.frames)
    return str(path)


@pytest.fixture(scope="module")
def initials(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The first datagrams of QUIC connections as a capture file."""
    recorder = Recorder()
    for version in (4, 6):
        for name in NAMES:
            recorder.datagrams(version, 443, quic_initial(name, version))
    path = tmp_path_factory.mktemp("initials") / "initials.pcap"
    wrpcap(str(path), recorder.frames)
    return str(path)


@cache
def shipped() -> dict[str, str]:
    """What rules, and cases of residuals, ask -> who asks it, as profile/filter."""
    asked: dict[str, list[str]] = {}
    for name in profile_names():
        for rule in load_profile(name).rules:
            for filter_name, when in filters_of(rule):
                if when.needs.wireshark:
                    asked.setdefault(" ".join(when.text.split()), []).append(f"{name}/{filter_name}")
    return {text: "; ".join(names) for text, names in asked.items()}


def seen(capture: str, folder: Path) -> Iterator[tuple[str, list[int], list[int] | None]]:
    """For each filter the frames (from 0) that set off a box with this rule alone, and those that tshark shows."""
    filters = list(shipped())
    theirs = tshark(filters, ip_packets_of(capture), folder, TSHARK_OPTIONS)
    for text, numbers in zip(filters, theirs, strict=True):
        yield text, frames_that_set_off(text, capture), numbers


def test_shipped_rules_are_set_off_by_the_packets_that_tshark_shows(
    conversations: str, tmp_path: Path
) -> None:
    """Paste any of them into Wireshark and see what the box saw."""
    rules = shipped()
    different = [
        f"{rules[text]}: {text}\n  ours {ours}\n  tshark {theirs}"
        for text, ours, theirs in seen(conversations, tmp_path)
        if ours != theirs
    ]
    assert different == []


def test_shipped_rules_on_datagrams_agree_with_tshark_on_quic(initials: str, tmp_path: Path) -> None:
    """Rules that say `udp` or `quic`: the others are about TLS over TCP here, and about both in Wireshark."""
    about = [one for one in seen(initials, tmp_path) if "udp" in one[0] or "quic" in one[0]]
    assert [text for text, ours, theirs in about if ours != theirs] == []
    assert any(ours for _, ours, _ in about)


def test_shipped_rules_each_have_packets_to_be_tried_on(conversations: str, initials: str) -> None:
    """A rule that nothing here sets off proves nothing by agreeing."""
    captures = [conversations, initials, *RECORDED]
    untried = [
        f"{rules}: no conversation above sets it off; add one"
        for text, rules in shipped().items()
        if not any(frames_that_set_off(text, capture) for capture in captures)
    ]
    assert untried == []


@pytest.mark.parametrize("capture", RECORDED)
def test_shipped_rules_agree_with_tshark_on_recorded_programs(capture: str, tmp_path: Path) -> None:
    """Nothing that programs send sets off a rule here and not in Wireshark, or the other way round."""
    misread = set()
    for text, ours, theirs in seen(capture, tmp_path):
        assert theirs is not None, text
        misread |= set(ours) ^ set(theirs)
    assert misread == RECORDED[capture].keys()


def test_shipped_rules_find_tls_on_port_80_where_tshark_expects_http(tmp_path: Path) -> None:
    """A ClientHello is one on any port; tshark asks nobody but its HTTP dissector there."""
    recorder = Recorder()
    recorder.connection(4, tls("blocked.example", port=80))
    capture = str(tmp_path / "tls-on-port-80.pcap")
    wrpcap(capture, recorder.frames)
    [(ours, theirs)] = [
        (ours, theirs)
        for text, ours, theirs in seen(capture, tmp_path)
        if "watch-sni/reset-both-on-blocked-sni" in shipped()[text]
    ]
    assert (ours, theirs) == ([3], [])
