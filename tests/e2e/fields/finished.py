"""A finished run read back from its captures, for tests of what a profile's packets look like on the wire.

What is forged is told by the two captures at the box alone: it left the box and never went in. Neither the box's events
nor our own encoder have a say, so that what these tests read can be held against the catalogue.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

from middlebox.packet import ACK, RST, SYN, Packet, flag_letters
from scenarios.captures import Captured, fingerprint, read_capture
from scenarios.record import FlowEnds

Networks = tuple[IPv4Network | IPv6Network, ...]
INSIDE: Networks = (ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/64"))
FAMILIES = (4, 6)


@dataclass(frozen=True)
class Seen:
    """A packet on one side of the box. forged: it left the box there and had not gone in on the other side."""

    captured: Captured
    forged: bool

    @property
    def packet(self) -> Packet:
        return self.captured.packet

    @property
    def time_ns(self) -> int:
        return self.captured.time_ns

    @property
    def flags(self) -> str:
        return flag_letters(self.packet.flags)


@dataclass(frozen=True)
class Connection:
    """One connection of a step, as it passed the box: `inside` and `outside` are the captures of its two sides."""

    ends: FlowEnds
    inside: tuple[Seen, ...]
    outside: tuple[Seen, ...]

    @property
    def client_is_inside(self) -> bool:
        return any(ip_address(self.ends.client) in network for network in INSIDE)

    def forged(self, towards: str) -> list[Packet]:
        """Forged packets towards the `client` or the `server`, in the order in which they left the box."""
        return [seen.packet for seen in self.seen_forged(towards)]

    def seen_forged(self, towards: str) -> list[Seen]:
        """The same with their times."""
        to_inside = (towards == "client") == self.client_is_inside
        return [seen for seen in (self.inside if to_inside else self.outside) if seen.forged]

    def genuine(self, sender: str) -> list[Packet]:
        """What the `client` or the `server` sent, as it came to the box."""
        return [seen.packet for seen in self.seen_genuine(sender)]

    def seen_genuine(self, sender: str) -> list[Seen]:
        """The same with their times."""
        address, port = (
            (self.ends.client, self.ends.client_port)
            if sender == "client"
            else (self.ends.server, self.ends.server_port)
        )
        from_inside = (sender == "client") == self.client_is_inside
        side = self.inside if from_inside else self.outside
        return [s for s in side if not s.forged and (s.packet.src, s.packet.sport) == (address, port)]

    def isn(self, sender: str) -> int:
        """The initial sequence number that an end chose."""
        return next(p.seq for p in self.genuine(sender) if p.flags & SYN)

    def relative(self, p: Packet) -> tuple[int, int]:
        """(seq, ack) of a packet counted from the ISNs; -1 for what is counted from an ISN that was never seen."""
        sender, receiver = "client", "server"
        if (p.src, p.sport) == (self.ends.server, self.ends.server_port):
            sender, receiver = receiver, sender

        def count(number: int, end: str) -> int:
            syns = [q.seq for q in self.genuine(end) if q.flags & SYN]
            return (number - syns[0]) & 0xFFFFFFFF if syns else -1

        return count(p.seq, sender), count(p.ack, receiver)

    def first_data(self, sender: str = "client") -> Seen:
        """The first segment with payload that an end sent."""
        return next(s for s in self.seen_genuine(sender) if s.packet.payload)


class Run:
    """A run that ended as expected."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.result: dict[str, Any] = json.loads((directory / "result.json").read_text())

    @cache  # noqa: B019 - one run a scenario, and it lives as long as the session
    def _side(self, place: str, world: str) -> tuple[Seen, ...]:
        other = {"box-inside": "box-outside", "box-outside": "box-inside"}[place]
        folder = self.directory / self._world(world)["captures"]
        here, there = (read_capture(folder / f"{p}.pcapng") for p in (place, other))
        went_in = Counter(fingerprint(captured.packet) for captured in there)
        found = []
        for captured in sorted(here, key=lambda captured: captured.time_ns):
            p = captured.packet
            leaves = any(ip_address(p.dst) in network for network in INSIDE) == (place == "box-inside")
            mark = fingerprint(p)
            forged = leaves and not went_in[mark]
            if leaves and not forged:
                went_in[mark] -= 1
            found.append(Seen(captured, forged))
        return tuple(found)

    @cache  # noqa: B019 - as above; a run may have hundreds of connections
    def _by_ports(self, place: str, world: str) -> dict[frozenset[int], list[Seen]]:
        found: dict[frozenset[int], list[Seen]] = defaultdict(list)
        for seen in self._side(place, world):
            found[frozenset((seen.packet.sport, seen.packet.dport))].append(seen)
        return found

    def _world(self, name: str) -> dict[str, Any]:
        world: dict[str, Any] = next(w for w in self.result["worlds"] if w["name"] == name)
        return world

    def step(self, name: str, family: int, *, world: str = "scenario") -> dict[str, Any]:
        """What result.json says of a step."""
        play = next(p for p in self._world(world)["plays"] if p["family"] == family)
        found: dict[str, Any] = next(step for step in play["steps"] if step["step"] == name)
        return found

    def outcome(self, name: str, family: int) -> str:
        return str(self.step(name, family)["outcome"])

    def connections(self, step: str, family: int, *, world: str = "scenario") -> list[Connection]:
        """The connections of a step, in the order in which they were opened."""
        sides = [self._by_ports(place, world) for place in ("box-inside", "box-outside")]
        found = []
        for data in self.step(step, family, world=world)["flows"]:
            ends = FlowEnds.from_json(data)
            ports = frozenset((ends.client_port, ends.server_port))
            inside, outside = (
                tuple(s for s in side.get(ports, ()) if ends.holds(s.packet)) for side in sides
            )
            found.append(Connection(ends, inside, outside))
        return found

    def connection(self, step: str, family: int, *, world: str = "scenario") -> Connection:
        """The only connection of a step."""
        [found] = self.connections(step, family, world=world)
        return found

    def events(self, kind: str) -> Iterator[dict[str, Any]]:
        """Events of the scenario's box, for what no capture shows."""
        for line in (self.directory / "events.jsonl").read_text().splitlines():
            event: dict[str, Any] = json.loads(line)
            if event["event"] == kind:
                yield event

    def flows_matched(self, rule: str) -> set[tuple[bytes, int]]:
        """(client, port) of the connections that a rule looked at and matched. A busy box lets some pass unseen."""
        flows = [event["flow"] for event in self.events("rule_matched") if event["rule"] == rule]
        return {(ip_address(flow["client"]).packed, flow["client_port"]) for flow in flows}

    def at_host(self, host: str, connection: Connection) -> list[Packet]:
        """The packets of a connection in the capture of a host, in order."""
        captures = read_capture(self.directory / "captures" / f"{host}.pcapng")
        return [c.packet for c in captures if connection.ends.holds(c.packet)]


def is_from(networks: Networks, p: Packet) -> bool:
    """Whether a packet's source lies in one of these networks."""
    return any(ip_address(p.src) in network for network in networks)


def options_of(p: Packet) -> bytes:
    """TCP options, b"" when the header is the bare 20 bytes."""
    return p.data[p.l4 + 20 : p.payload_start]


def assert_bare(packets: list[Packet]) -> None:
    """No TCP options and no payload: a header of 20 bytes and nothing behind it."""
    assert packets
    for p in packets:
        assert (options_of(p), p.payload) == (b"", b"")


__all__ = ["ACK", "FAMILIES", "RST", "SYN", "Connection", "Run", "Seen", "assert_bare", "options_of"]
