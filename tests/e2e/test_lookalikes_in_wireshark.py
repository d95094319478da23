"""Look-alikes by Wireshark's eyes: each capture shows what its scenario says, whatever our own counting makes of it.

The other witness of the `wire:` expectations: tshark's own TCP analysis on the captures of both ends.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.shipped import SLUGS, shipped
from tests.e2e.test_captures_in_wireshark import TSHARK

FROM_SERVER = "(ip.src == 203.0.113.0/24 or ipv6.src == 2001:db8:3::/64)"
FROM_CLIENT = "(ip.src == 192.0.2.0/24 or ipv6.src == 2001:db8:1::/64)"


@dataclass(frozen=True)
class Sight:
    """Filter, and how many packets over both IP versions it must show in a host's capture; high None: no end.

    after: only those that come behind a packet that this filter shows, in the same connection, and of each connection
    the first; at_least_s: so long behind the last of these.
    """

    host: str
    shown_by: str
    low: int
    high: int | None
    after: str = ""
    at_least_s: float = 0.0


def exactly(host: str, shown_by: str, number: int) -> Sight:
    return Sight(host, shown_by, number, number)


def some(host: str, shown_by: str, number: int = 2) -> Sight:
    return Sight(host, shown_by, number, None)


def follows(host: str, after: str, shown_by: str, number: int = 2, at_least_s: float = 0.0) -> Sight:
    """In so many connections (one over each IP version) this comes after that."""
    return Sight(host, shown_by, number, number, after, at_least_s)


RESET = "tcp.flags.reset == 1"
FIN = "tcp.flags.fin == 1"
EHLO_ANSWER = 'smtp.response.code == 250 and tcp.payload contains "250-mail.example"'
UNKNOWN_AUTHORITY = 48  # RFC 5246 7.2.2: unknown_ca
ALERT_TLS_1_3 = "(tls.record.opaque_type == 23 and tls.record.length == 19)"  # 2 bytes, the type, a tag of 16
SIGHTS = {
    "benign-port-closed": [
        exactly("sim1", f"{RESET} and {FROM_SERVER} and tcp.srcport == 8443 and tcp.ack == 1", 2),
        exactly("web", f"{RESET} and {FROM_SERVER} and tcp.srcport == 8443", 2),
    ],
    "benign-server-crash": [
        exactly("peer", "tls.handshake.type == 1", 2),
        exactly("peer", f"{RESET} and {FROM_SERVER}", 2),
        exactly("sim1", f"{RESET} and {FROM_SERVER} and tcp.ack > 1", 2),
    ],
    "benign-crash-at-starttls": [
        exactly("peer", 'smtp.command_line matches "^STARTTLS"', 2),
        exactly("peer", f"{RESET} and {FROM_SERVER}", 2),
        exactly("peer", f"{RESET} and {FROM_CLIENT}", 0),
    ],
    "benign-lossy-link": [
        some("sim1", f"tcp.analysis.retransmission and {FROM_CLIENT}"),
        some("peer", f"tcp.analysis.retransmission and {FROM_SERVER}"),
        some("peer", f"tcp.analysis.lost_segment and {FROM_CLIENT}"),
        follows("peer", f"{FROM_SERVER} and tcp.len > 0", f"{FIN} and {FROM_CLIENT}"),
    ],
    "benign-mtu-black-hole": [
        some("web", f"tcp.analysis.retransmission and {FROM_SERVER} and frame.len > 1294"),
        exactly("sim1", f"{FROM_SERVER} and frame.len > 1294", 0),
        exactly("web", "icmp or icmpv6.type == 2", 0),
    ],
    "benign-duplicate-syn": [
        exactly("sim1", "tcp.flags.syn == 1 and tcp.flags.ack == 0", 4),
        exactly("web", "tcp.flags.syn == 1 and tcp.flags.ack == 0", 4),
        exactly("web", "tcp.flags.syn == 1 and tcp.flags.ack == 1", 4),
        exactly("web", "tcp.flags.syn == 1 and tcp.flags.ack == 1 and tcp.analysis.retransmission", 2),
        exactly("sim1", "tcp.flags.syn == 1 and tcp.flags.ack == 1", 4),
    ],
    "benign-syn-proxy": [
        exactly("sim1", "tcp.flags.syn == 1 and tcp.flags.ack == 1 and tcp.window_size_value == 0", 2),
    ],
    "benign-half-open": [
        # The SYN and the hundred bytes: what the client's last segment acknowledges.
        exactly("peer", f"{FROM_CLIENT} and tcp.len == 200 and tcp.ack == 101", 2),
        exactly("peer", f"{RESET} and {FROM_SERVER} and tcp.flags.ack == 0 and tcp.seq == 101", 2),
        exactly("sim1", f"{RESET} and {FROM_SERVER} and tcp.flags.ack == 0 and tcp.seq == 101", 2),
        exactly("peer", f"tcp.flags.fin == 1 and {FROM_SERVER}", 0),
    ],
    "benign-keepalive-timeout": [
        some("peer", f"tcp.analysis.keep_alive and {FROM_SERVER}"),
        exactly("peer", f"{RESET} and {FROM_SERVER}", 2),
        exactly("sim1", RESET, 0),
    ],
    "benign-starttls-454": [
        exactly("mail", "smtp.response.code == 454", 4),
        exactly("sim1", "smtp.response.code == 454", 4),
    ],
    "benign-nxdomain": [
        exactly("dns", 'dns.qry.name == "missing.example" and dns.flags.rcode == 3', 4),
        exactly("sim1", 'dns.qry.name == "missing.example" and dns.flags.rcode == 3', 4),
        exactly("sim1", 'dns.qry.name == "missing.example" and dns.flags.response == 1', 4),
    ],
    "benign-dns-slow": [
        exactly("dns", "dns.time > 0.5", 0),
        some("sim1", "dns.time > 0.5"),
    ],
    "benign-http-403": [
        exactly("web", "http.response.code == 403", 2),
        exactly("sim1", "http.response.code == 403", 2),
    ],
    "benign-linger-close": [
        exactly("peer", "tls.handshake.type == 1", 2),
        exactly("peer", f"{RESET} and tcp.flags.ack == 1 and tcp.seq == 1 and {FROM_SERVER}", 2),
        exactly("sim1", f"{RESET} and tcp.flags.ack == 1 and tcp.seq == 1 and {FROM_SERVER}", 2),
        follows("peer", "tls.handshake.type == 1", f"{RESET} and {FROM_SERVER}"),
        exactly("peer", f"{FROM_SERVER} and ({FIN} or tcp.len > 0)", 0),
    ],
    "benign-client-abort": [
        # Linux opens a window of at most 131072 bytes to begin with (tcp_rmem), and the client reads 65536 once.
        exactly("peer", f"{RESET} and tcp.flags.ack == 1 and {FROM_CLIENT} and tcp.ack < 200000", 2),
        # Of what it sent it has got back a part: the server had not done.
        exactly("peer", f"{RESET} and tcp.flags.ack == 1 and {FROM_CLIENT} and tcp.ack < tcp.seq", 2),
        exactly("peer", f"{RESET} and tcp.flags.ack == 1 and {FROM_CLIENT}", 2),
        follows("peer", f"{FROM_SERVER} and tcp.len > 0", f"{RESET} and {FROM_CLIENT}"),
        exactly("peer", f"{FROM_SERVER} and ({RESET} or {FIN} or tcp.seq > 200000)", 0),
        exactly("peer", f"{FROM_CLIENT} and {FIN}", 0),
    ],
    "benign-nat-timeout": [
        some("sim1", f"tcp.len == 200 and {FROM_CLIENT}", 4),
        some("sim1", f"tcp.len == 200 and {FROM_CLIENT} and tcp.analysis.retransmission"),
        exactly("box-inside", "tcp.len == 200", 0),
        exactly("peer", "tcp.len == 200", 0),
        some("peer", f"tcp.len == 100 and {FROM_CLIENT}"),
        exactly("sim1", f"{RESET} and {FROM_SERVER}", 0),
    ],
    "benign-idle-reset": [
        # By the server's own clock, which may be corrected a little meanwhile: nobody has said anything for 0.4 s.
        follows("peer", "tcp.len > 0", f"{RESET} and {FROM_SERVER}", at_least_s=0.39),
        exactly("peer", f"{RESET} and {FROM_SERVER} and tcp.seq == 101 and tcp.ack == 101", 2),
        exactly("sim1", f"{RESET} and {FROM_SERVER} and tcp.seq == 101 and tcp.ack == 101", 2),
        exactly("peer", FIN, 0),
    ],
    "benign-no-starttls": [
        exactly("mail", EHLO_ANSWER, 4),
        exactly("sim1", EHLO_ANSWER, 4),
        exactly("mail", 'tcp.payload contains "STARTTLS" or smtp.command_line matches "^AUTH"', 0),
        exactly("mail", 'tcp.dstport == 587 and smtp.req and not smtp.command_line matches "^(EHLO|QUIT)"', 0),
        exactly("mail", 'tcp.dstport == 25 and smtp.command_line matches "^MAIL FROM"', 2),
        exactly("sim1", RESET, 0),
    ],
    "benign-greylisting": [
        exactly("mail", "smtp.response.code == 450", 2),
        exactly("sim1", "smtp.response.code == 450", 2),
        follows("mail", 'smtp.command_line matches "^RCPT TO"', "smtp.response.code == 450"),
        # In the other connection over each: 2.1.5 is a valid destination address, RFC 3463.
        follows("mail", 'smtp.command_line matches "^RCPT TO"', 'smtp.rsp.parameter matches "^2[.]1[.]5"'),
        exactly("sim1", 'smtp.response.code == 250 and smtp.rsp.parameter matches "^2[.]1[.]5"', 2),
    ],
    "benign-unknown-user": [
        exactly("mail", "smtp.response.code == 550", 2),
        exactly("sim1", "smtp.response.code == 550", 2),
        follows("mail", "smtp.response.code == 550", 'smtp.command_line matches "^(RSET|QUIT)"'),
        follows("mail", "smtp.response.code == 550", f"{FIN} and {FROM_CLIENT}"),
        follows("sim1", "smtp.response.code == 550", f"{FIN} and {FROM_SERVER}"),
        exactly("sim1", RESET, 0),
    ],
    "benign-slow-server": [
        # By the server's own clock, as above: its kernel has acknowledged the bytes, its program answers in 1.2 s.
        follows("peer", f"{FROM_CLIENT} and tcp.len == 100", f"{FROM_SERVER} and tcp.len == 100", at_least_s=1.19),
        follows("peer", f"{FROM_SERVER} and tcp.len == 0 and tcp.ack == 101", f"{FROM_SERVER} and tcp.len == 100"),
        exactly("sim1", RESET, 0),
    ],
    "benign-tarpit": [
        some("sim1", f"tcp.len == 1 and {FROM_SERVER}", 6),
        exactly("peer", f"{FROM_SERVER} and tcp.payload contains 0a", 0),
        exactly("sim1", f"{FROM_CLIENT} and tcp.len > 0", 0),
        follows("sim1", f"tcp.len == 1 and {FROM_SERVER}", f"({FIN} or {RESET}) and {FROM_CLIENT}"),
    ],
    "benign-mtu-probing": [
        # 1500 bytes without headers (20 or 40), TCP's (20) and timestamps (12): as first sent and at least once again.
        some("web", "ip.version == 4 and tcp.seq == 1 and tcp.len == 1448"),
        some("web", "ipv6 and tcp.seq == 1 and tcp.len == 1428"),
        # tcp_base_mss
        follows("web", "tcp.seq == 1 and tcp.len > 1400", "tcp.seq == 1 and tcp.len == 1024", at_least_s=0.3),
        some("web", "tcp.seq == 1 and tcp.len == 1024 and tcp.analysis.retransmission"),
        some("sim1", "tcp.seq == 1 and tcp.len == 1024"),
        exactly("sim1", f"{FROM_SERVER} and frame.len > 1294", 0),
        exactly("web", "icmp or icmpv6.type == 2", 0),
    ],
    "benign-unknown-authority": [
        Sight("web", f"({FIN} or {RESET}) and {FROM_CLIENT}", 2, 4,
              f"(tls.alert_message.desc == {UNKNOWN_AUTHORITY} or {ALERT_TLS_1_3}) and {FROM_CLIENT}"),
        exactly("web", "tls.handshake.type == 2", 4),
        exactly("sim1", "tls.handshake.type == 2", 4),
        exactly("web", f"{RESET} and {FROM_SERVER}", 0),
    ],
}  # fmt: skip


@dataclass(frozen=True)
class Frame:
    number: int
    connection: str
    at_s: float


def shown(capture: Path, display_filter: str) -> list[Frame]:
    """The packets of a capture that a display filter shows, by tshark."""
    assert TSHARK is not None
    fields = [word for name in ("frame.number", "tcp.stream", "frame.time_epoch") for word in ("-e", name)]
    argv = [TSHARK, "-r", str(capture), "-Y", display_filter, "-T", "fields", *fields]
    lines = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
    return [Frame(int(n), stream, float(at)) for n, stream, at in (line.split("\t") for line in lines)]


def seen(sight: Sight, captures: Path) -> int:
    """How often it is there."""
    capture = captures / f"{sight.host}.pcapng"
    found = shown(capture, sight.shown_by)
    if not sight.after:
        return len(found)
    before = shown(capture, sight.after)
    behind = {}
    for frame in found:
        times = [b.at_s for b in before if b.connection == frame.connection and b.number < frame.number]
        if times:
            behind.setdefault(frame.connection, frame.at_s - times[-1])
    return sum(since_s >= sight.at_least_s for since_s in behind.values())


@pytest.mark.parametrize("slug", [slug for slug in SLUGS if shipped(slug).truth == "genuine"])
def test_lookalike_has_something_to_be_seen_in_wireshark(slug: str) -> None:
    """Whoever adds a scenario with genuine troubles says here what Wireshark shows of them."""
    assert SIGHTS.get(slug), f"{slug} is missing in SIGHTS"


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed; make setup-servers installs it")
@pytest.mark.parametrize("slug", SIGHTS)
def test_lookalike_shows_in_wireshark_what_it_says(slug: str, finished_run: FinishedRun) -> None:
    """Each thing that the scenario is about is seen by tshark, as often as there are connections, and no other."""
    captures = finished_run(slug).directory / "captures"
    counts = {sight: seen(sight, captures) for sight in SIGHTS[slug]}
    assert {
        sight: count
        for sight, count in counts.items()
        if count < sight.low or (sight.high is not None and count > sight.high)
    } == {}
