"""A connection played by hand: packets with exact times at the client, both sides of the box and the server.

Not a test. Delays are fixed: 15 ms from client to box, 20 ms from box to server, each router takes one from the TTL.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path
from struct import pack
from typing import Any

from middlebox.events import FlowName, Trigger, packet_dropped, packet_forged, rule_matched
from middlebox.flow import Direction
from middlebox.packet import decode, parse_flag_letters, tcp_segment, with_ttl
from scenarios.captures import Captured
from scenarios.journeys import World
from scenarios.record import FlowEnds

MS = 1_000_000
BEGIN_NS = 1_700_000_000_000_000_000
CLIENT_TO_BOX_MS, BOX_TO_SERVER_MS = 15, 20
PLACES = ("sim1", "box-inside", "box-outside", "mail")
_OFFSETS_MS = {
    "sim1": 0.0, "box-inside": CLIENT_TO_BOX_MS, "box-outside": CLIENT_TO_BOX_MS + 0.01,
    "mail": CLIENT_TO_BOX_MS + 0.01 + BOX_TO_SERVER_MS,
}  # fmt: skip
INSIDE = (ip_network("192.0.2.0/24"), ip_network("2001:db8:1::/64"))


def is_inside(address: bytes) -> bool:
    return any(ip_address(address) in network for network in INSIDE)


@dataclass
class Stage:
    """One flow between sim1 and mail. `time_ms` is when the next packet leaves its sender."""

    client: str = "192.0.2.11"
    server: str = "203.0.113.25"
    client_port: int = 45678
    server_port: int = 587
    time_ms: float = 0.0
    captures: dict[str, list[Captured]] = field(default_factory=lambda: {place: [] for place in PLACES})
    events: list[dict[str, Any]] = field(default_factory=list)
    ip_id: int = 0
    isn: dict[str, int] = field(default_factory=lambda: {"client": 4_294_967_290, "server": 1000})
    sent: dict[str, int] = field(default_factory=lambda: {"client": 0, "server": 0})

    @property
    def world(self) -> World:
        return World({self.pack(self.client): "sim1", self.pack(self.server): "mail"}, is_inside)

    @staticmethod
    def pack(address: str) -> bytes:
        return ip_address(address).packed

    @property
    def ends(self) -> FlowEnds:
        """The flow as a run's record names it."""
        client, server = self.pack(self.client), self.pack(self.server)
        return FlowEnds(client, self.client_port, server, self.server_port, "sim1", "mail")

    @property
    def flow(self) -> FlowName:
        return FlowName(self.pack(self.client), self.client_port, self.pack(self.server), self.server_port, 6)

    def packet(self, sender: str, flags: str, payload: bytes = b"", **changes: Any) -> bytes:
        other = "server" if sender == "client" else "client"
        ends = [(self.pack(self.client), self.client_port), (self.pack(self.server), self.server_port)]
        (src, sport), (dst, dport) = ends if sender == "client" else ends[::-1]
        self.ip_id += 1
        fields: dict[str, Any] = {
            "src": src, "dst": dst, "sport": sport, "dport": dport, "window": 500, "ttl": 64, "ip_id": self.ip_id,
            "seq": (self.isn[sender] + self.sent[sender]) % 2**32, "flags": parse_flag_letters(flags),
            "ack": (self.isn[other] + self.sent[other]) % 2**32 if "A" in flags else 0, "payload": payload,
        }  # fmt: skip
        return tcp_segment(**fields | changes)

    def send(
        self,
        sender: str,
        flags: str,
        payload: bytes = b"",
        *,
        until: str = "",
        wait_ms: float = 40.0,
        **changes: Any,
    ) -> bytes:
        """A genuine packet, seen at every place in turn, up to and including `until` (all by default)."""
        data = self.packet(sender, flags, payload, **changes)
        self.sent[sender] += len(payload) + ("S" in flags) + ("F" in flags)
        self.travel(data, PLACES if sender == "client" else PLACES[::-1], until=until)
        self.time_ms += wait_ms
        return data

    def travel(
        self, data: bytes, places: tuple[str, ...], *, until: str = "", at_ms: float | None = None
    ) -> None:
        start = _OFFSETS_MS[places[0]]
        begin = self.time_ms if at_ms is None else at_ms
        for hop, place in enumerate(places):
            packet = decode(with_ttl(data, data[8 if data[0] >> 4 == 4 else 7] - hop))
            assert packet is not None
            time_ns = BEGIN_NS + round((begin + abs(_OFFSETS_MS[place] - start)) * MS)
            self.captures[place].append(Captured(len(self.captures[place]) + 1, time_ns, packet))
            if place == until:
                return

    def forge(
        self,
        towards: str,
        trigger: bytes,
        *,
        at_ms: float,
        flags: str = "R",
        rule: str = "reset-both",
        **changes: Any,
    ) -> bytes:
        """A RST made by the box, with its event; leaves the box at `at_ms`."""
        sender = "server" if towards == "client" else "client"
        data = self.packet(sender, flags, **({"ip_id": 0, "window": 0} | changes))
        self.travel(
            data, ("box-inside", "sim1") if towards == "client" else ("box-outside", "mail"), at_ms=at_ms
        )
        packet = decode(trigger)
        assert packet is not None
        direction = Direction.SERVER_TO_CLIENT if towards == "client" else Direction.CLIENT_TO_SERVER
        event = packet_forged(
            BEGIN_NS + round(at_ms * MS), self.flow, rule=rule, profile="tmobile-uk-2012", towards=towards,
            direction=direction, packet=data, delay_ns=100_000, trigger=Trigger.of(packet),
        )  # fmt: skip
        self.events.append(event.as_json())
        return data

    def match(
        self,
        trigger: bytes,
        *,
        at_ms: float,
        rule: str = "reset-both",
        direction: Direction = Direction.CLIENT_TO_SERVER,
    ) -> None:
        packet = decode(trigger)
        assert packet is not None
        event = rule_matched(
            BEGIN_NS + round(at_ms * MS), self.flow, rule=rule, profile="tmobile-uk-2012", direction=direction,
            trigger=Trigger.of(packet), actions=["reset"], fields={}, acted=True,
        )  # fmt: skip
        self.events.append(event.as_json())

    def drop(self, sender: str, data: bytes, *, rule: str = "drop-it") -> None:
        packet = decode(data)
        assert packet is not None
        direction = Direction.CLIENT_TO_SERVER if sender == "client" else Direction.SERVER_TO_CLIENT
        event = packet_dropped(
            BEGIN_NS + round(self.time_ms * MS),
            self.flow,
            rule=rule,
            profile="p",
            direction=direction,
            packet=Trigger.of(packet),
        )
        self.events.append(event.as_json())

    def sorted(self) -> dict[str, list[Captured]]:
        """The captures in order of time, frames renumbered."""
        for packets in self.captures.values():
            packets.sort(key=lambda captured: captured.time_ns)
            for number, captured in enumerate(packets, 1):
                captured.number = number
        return self.captures


def handshake(stage: Stage) -> None:
    stage.send("client", "S")
    stage.send("server", "SA")
    stage.send("client", "A", wait_ms=1)


def starttls_block(**ends: Any) -> Stage:
    """The incident: STARTTLS is answered by a RST to both ends, the server's own `220` still crosses."""
    stage = Stage(**ends)
    handshake(stage)
    stage.send("server", "PA", b"220 mail.example ESMTP\r\n")
    stage.send("client", "A", wait_ms=0.5)
    stage.send("client", "PA", b"ehlo lab.example\r\n")
    stage.send("server", "PA", b"250-mail.example\r\n250-SIZE 33554432\r\n250-STARTTLS\r\n250 HELP\r\n")
    trigger = stage.send("client", "PA", b"STARTTLS\r\n", wait_ms=0)
    at_box_ms = stage.time_ms + CLIENT_TO_BOX_MS + 0.2
    stage.match(trigger, at_ms=at_box_ms)
    stage.forge("client", trigger, at_ms=at_box_ms)
    stage.forge("server", trigger, at_ms=at_box_ms + 0.1)
    stage.sorted()
    return stage


def write_pcap(path: Path, packets: list[Captured]) -> Path:
    """A classic pcap file (link type RAW, nanoseconds)."""
    data = pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101)
    for captured in packets:
        raw = captured.packet.data
        data += pack("<IIII", captured.time_ns // 10**9, captured.time_ns % 10**9, len(raw), len(raw)) + raw
    path.write_bytes(data)
    return path
