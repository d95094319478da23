"""Look-alikes by Wireshark's eyes: each capture shows what its scenario says, whatever our own counting makes of it.

The other witness of the `wire:` expectations: tshark's own TCP analysis on the captures of both ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.e2e.conftest import Terminal
from tests.e2e.test_captures_in_wireshark import TSHARK, frames

FROM_SERVER = "(ip.src == 203.0.113.0/24 or ipv6.src == 2001:db8:3::/64)"
FROM_CLIENT = "(ip.src == 192.0.2.0/24 or ipv6.src == 2001:db8:1::/64)"


@dataclass(frozen=True)
class Sight:
    """Filter, and how many packets over both IP versions it must show in a host's capture; high None: no end."""

    host: str
    shown_by: str
    low: int
    high: int | None


def exactly(host: str, shown_by: str, number: int) -> Sight:
    return Sight(host, shown_by, number, number)


def some(host: str, shown_by: str, number: int = 2) -> Sight:
    return Sight(host, shown_by, number, None)


RESET = "tcp.flags.reset == 1"
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
        exactly("peer", RESET, 0),
    ],
    "benign-mtu-black-hole": [
        some("web", f"tcp.analysis.retransmission and {FROM_SERVER} and frame.len > 1294"),
        exactly("sim1", f"{FROM_SERVER} and frame.len > 1294", 0),
        exactly("web", "icmp or icmpv6.type == 2", 0),
    ],
    "benign-duplicate-syn": [
        exactly("sim1", "tcp.flags.syn == 1 and tcp.flags.ack == 0", 4),
        exactly("web", "tcp.flags.syn == 1 and tcp.flags.ack == 0", 4),
    ],
    "benign-syn-proxy": [
        exactly("sim1", "tcp.flags.syn == 1 and tcp.flags.ack == 1 and tcp.window_size_value == 0", 2),
    ],
    "benign-half-open": [
        exactly("peer", f"{RESET} and {FROM_SERVER} and tcp.flags.ack == 0", 2),
        exactly("sim1", f"{RESET} and {FROM_SERVER} and tcp.flags.ack == 0", 2),
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
}  # fmt: skip


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed; make setup-servers installs it")
@pytest.mark.parametrize("slug", SIGHTS)
def test_lookalike_shows_in_wireshark_what_it_says(slug: str, terminal: Terminal) -> None:
    """Each thing that the scenario is about is seen by tshark, as often as there are connections, and no other."""
    done = terminal.type("run", slug, "--no-controls")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    captures = terminal.runs / "latest" / "captures"
    for sight in SIGHTS[slug]:
        seen = len(frames(captures / f"{sight.host}.pcapng", sight.shown_by))
        assert sight.low <= seen and (sight.high is None or seen <= sight.high), (sight, seen)
