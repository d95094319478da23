"""Which resets did neither end send? The proof of 2012: capture at both ends, and compare.

A RST that arrived at the client with the server's address on it, and that is not among the RSTs the server's own
capture shows leaving, was sent by somebody in between; the same the other way round.

    python -m scenarios.detectors.two_ended CLIENT.pcapng SERVER.pcapng [--json]

How packets are matched. What no router changes (addresses, ports, sequence and acknowledgment number, flags, window,
IP ID, options, payload) makes a packet's identity; the TTL does not, as it changes on the way and a forger may choose
it. Packets of one identity are paired arrival by arrival with sendings, in time order: a genuine RST explains one
arrival, not two, and only one that comes late enough after it to have made the journey; how long that takes at least,
all connections between the two ends show together. A genuine packet that got lost
leaves a sending without arrival, which is no finding. Clocks of the two captures may differ: the difference is taken
from the packets that crossed both ways.

Must never: read anything but the two ends' captures. Limits: both captures must span the whole connection, and no
address may be translated between the two.

Sources: cardwell (the method, January 2012); RFC 9293 (RST); RFC 5905 section 8 (clock offset from two-way delays).
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path

from middlebox.community import community_id
from middlebox.packet import ACK, PROTOCOL_TCP, RST, SYN, flag_letters
from scenarios.captures import Captured, CaptureError, fingerprint, read_capture
from scenarios.pairing import pair

MIN_TRANSIT_SHARE = 0.5
"""An arrival sooner after a sending than this share of the fastest journey seen is not that packet (chosen: no genuine
packet halves the best time of its path, a forgery made half-way or later does)."""

HELD_UP_NS = 20_000_000
"""How much sooner than that a genuine packet may still come (chosen). All others of a short acquaintance may have been
held up where this one was not: a box reads a request and lets a RST pass unread, and on a busy machine reading takes
milliseconds. On a path this short, times prove nothing."""

FlowId = tuple[bytes, int, bytes, int]
"""(client address, client port, server address, server port)"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One RST that neither end sent.

    towards: `client` or `server`, who received it; frame: its number in the receiver's capture; time_ns: when it
    arrived, by the receiver's clock; ttl: as received. ip_id: None for IPv6.
    """

    towards: str
    client: str
    client_port: int
    server: str
    server_port: int
    community_id: str
    frame: int
    time_ns: int
    seq: int
    ack: int
    flags: str
    window: int
    ip_id: int | None
    ttl: int
    why: str


def find_unsent_resets(
    client: Sequence[Captured],
    server: Sequence[Captured],
    *,
    client_addresses: Collection[bytes] | None = None,
    server_addresses: Collection[bytes] | None = None,
) -> list[Finding]:
    """RSTs of the connections between the two hosts that neither of them sent, in order of arrival.

    client, server: everything the capture at that end holds. client_addresses, server_addresses: the hosts' own
    addresses, where known; else those that occur in every packet of their capture.
    """
    client_addresses = client_addresses or own_addresses(client)
    server_addresses = server_addresses or own_addresses(server)
    flows = _by_flow(client, server, client_addresses, server_addresses)
    journeys = {flow: _journeys(flow, *packets) for flow, packets in flows.items()}
    # All connections between the two take one path, whoever opened them: what any packet shows of it counts for all.
    opposite = _by_flow(server, client, server_addresses, client_addresses)
    theirs = [_journeys(flow, *packets) for flow, packets in opposite.items() if flow not in flows]
    ways = [*journeys.values(), *((to_server, to_client) for to_client, to_server in theirs)]
    there = [t for to_server, _ in ways for t in to_server.transits_ns()]
    back = [t for _, to_client in ways for t in to_client.transits_ns()]
    ahead_ns = _clock_ahead_ns(there, back)
    findings: list[Finding] = []
    for flow, (to_server, to_client) in journeys.items():
        for towards, journey, transits, shift_ns in (
            ("client", to_client, back, ahead_ns),
            ("server", to_server, there, -ahead_ns),
        ):
            fastest_ns = max(min(transits, default=0) + shift_ns, 0)
            unsent = journey.unsent_resets(fastest_ns, shift_ns=shift_ns)
            findings += [_finding(flow, towards, captured, why) for captured, why in unsent]
    return sorted(findings, key=lambda finding: finding.time_ns)


def own_addresses(packets: Iterable[Captured]) -> frozenset[bytes]:
    """Addresses that are source or destination of every unicast packet of their IP version: the host's own.

    Two where the host spoke with one peer only; that is no harm, as the other end's capture decides then.
    """
    common: dict[int, set[bytes]] = {}
    for captured in packets:
        p = captured.packet
        if p.protocol == PROTOCOL_TCP:
            ends = {p.src, p.dst}
            common[p.version] = common[p.version] & ends if p.version in common else ends
    return frozenset(address for addresses in common.values() for address in addresses)


# --- flows -----------------------------------------------------------------------------------------------------------


def _by_flow(
    client: Sequence[Captured],
    server: Sequence[Captured],
    client_addresses: Collection[bytes],
    server_addresses: Collection[bytes],
) -> dict[FlowId, tuple[list[Captured], list[Captured]]]:
    """Flow -> (its packets at the client, its packets at the server), for connections between the two hosts only."""
    flows: dict[FlowId, tuple[list[Captured], list[Captured]]] = {}
    openers = _openers((*client, *server))
    for end, packets in enumerate((client, server)):
        for captured in packets:
            p = captured.packet
            if p.protocol != PROTOCOL_TCP:
                continue
            flow = (p.src, p.sport, p.dst, p.dport)
            back = (p.dst, p.dport, p.src, p.sport)
            if back in openers or (flow not in openers and p.sport < p.dport):
                # without a SYN in either capture, the lower port is taken for the server's
                flow = back
            if flow[0] in client_addresses and flow[2] in server_addresses:
                flows.setdefault(flow, ([], []))[end].append(captured)
    return flows


def _openers(packets: Iterable[Captured]) -> set[FlowId]:
    """Flows, named from the side that opened them, as far as a SYN or SYN+ACK shows it."""
    openers: set[FlowId] = set()
    for captured in packets:
        p = captured.packet
        if p.protocol == PROTOCOL_TCP and p.flags & SYN:
            ends = (p.src, p.sport, p.dst, p.dport)
            openers.add(ends if not p.flags & ACK else (p.dst, p.dport, p.src, p.sport))
    return openers


def _journeys(
    flow: FlowId, at_client: list[Captured], at_server: list[Captured]
) -> tuple[_Journey, _Journey]:
    """What travelled to the server, and what to the client."""
    client, _, server, _ = flow
    to_server = _Journey(
        sent=[c for c in at_client if c.packet.src == client],
        arrived=[c for c in at_server if c.packet.src == client],
    )
    to_client = _Journey(
        sent=[c for c in at_server if c.packet.src == server],
        arrived=[c for c in at_client if c.packet.src == server],
    )
    return to_server, to_client


def _finding(flow: FlowId, towards: str, captured: Captured, why: str) -> Finding:
    p = captured.packet
    client, client_port, server, server_port = flow
    return Finding(
        towards, str(ip_address(client)), client_port, str(ip_address(server)), server_port,
        community_id(client, client_port, server, server_port, PROTOCOL_TCP),
        captured.number, captured.time_ns, p.seq, p.ack, flag_letters(p.flags), p.window, p.ip_id, p.ttl, why,
    )  # fmt: skip


# --- one direction of one flow -------------------------------------------------------------------------------------


class _Journey:
    """What one end sent and what the other end received of it, by identity, in time order."""

    def __init__(self, *, sent: list[Captured], arrived: list[Captured]) -> None:
        self.sent = _by_identity(sent)
        self.arrived = _by_identity(arrived)

    def transits_ns(self) -> list[int]:
        """How long each packet took that left once and arrived once, RSTs aside: surely the same packet. By the clocks
        of the two ends, as they are."""
        transits = []
        for identity, sent in self.sent.items():
            arrived = self.arrived.get(identity, ())
            if len(sent) == len(arrived) == 1 and not sent[0].packet.flags & RST:
                transits.append(arrived[0].time_ns - sent[0].time_ns)
        return transits

    def unsent_resets(self, fastest_ns: int, *, shift_ns: int) -> list[tuple[Captured, str]]:
        """Arrived RSTs that no sending explains, each with the reason in words.

        fastest_ns: the least time that the journey takes; shift_ns: reads the receiver's clock as the sender's.
        """
        unsent: list[tuple[Captured, str]] = []
        for identity, arrived in self.arrived.items():
            if not arrived[0].packet.flags & RST:
                continue
            sent = self.sent.get(identity, [])
            genuine = pair(
                [c.time_ns for c in sent],
                [c.time_ns + shift_ns for c in arrived],
                least_ns=max(int(fastest_ns * MIN_TRANSIT_SHARE) - HELD_UP_NS, 0),
                usual_ns=fastest_ns,
            )
            why = "the other end sent no such packet"
            if sent:
                why = f"the other end sent it {len(sent)} time(s), none of which can be this arrival"
            unsent += [(captured, why) for n, captured in enumerate(arrived) if n not in genuine]
        return unsent


def _by_identity(packets: list[Captured]) -> dict[bytes, list[Captured]]:
    grouped: dict[bytes, list[Captured]] = defaultdict(list)
    for captured in sorted(packets, key=lambda captured: captured.time_ns):
        grouped[fingerprint(captured.packet)].append(captured)
    return dict(grouped)


def _clock_ahead_ns(there: Sequence[int], back: Sequence[int]) -> int:
    """How far the server's clock is ahead of the client's, 0 where one clock explains all transit times."""
    if not there or not back or (min(there) >= 0 and min(back) >= 0):
        return 0
    return (min(there) - min(back)) // 2


# --- command line ----------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> int:
    """Exit status 0: nothing forged; 1: findings; 2: bad arguments or files."""
    files = [argument for argument in argv if argument != "--json"]
    if len(files) != 2 or any(name.startswith("-") for name in files):
        print(
            f"expected CLIENT and SERVER capture, got {' '.join(argv)!r}; "
            "python -m scenarios.detectors.two_ended CLIENT SERVER [--json]",
            file=sys.stderr,
        )
        return 2
    try:
        findings = find_unsent_resets(read_capture(Path(files[0])), read_capture(Path(files[1])))
    except CaptureError as error:
        print(error, file=sys.stderr)
        return 2
    if "--json" in argv:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        for f in findings:
            print(
                f"{_end(f.client, f.client_port)} to {_end(f.server, f.server_port)}: RST towards {f.towards}, "
                f"frame {f.frame}, flags {f.flags}, seq {f.seq}, ttl {f.ttl}: {f.why}"
            )
        print(f"{len(findings)} reset(s) that neither end sent")
    return 1 if findings else 0


def _end(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
