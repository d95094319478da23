"""The captures of tests/data/dissect as flows: what our dissectors say of each packet, and what tshark says."""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as ET
from functools import cache
from pathlib import Path
from typing import NamedTuple

from scapy.utils import RawPcapReader

from middlebox import packet as wire
from middlebox.dissect import (
    ALL_FIELDS,
    DEFAULT_PORTS,
    Dissector,
    Fields,
    FieldType,
    Value,
    datagram_dissector_for,
    dissector_for,
)
from middlebox.dissect.http_fields import HEADER_FIELDS
from middlebox.flow import Direction

CAPTURES = Path(__file__).parent.parent / "data" / "dissect"
ETHERNET_HEADER_BYTES = 14
EVERYTHING = frozenset(name.partition(".")[0] for name in ALL_FIELDS)
# tshark joins HTTP bodies before it shows a header, we do not; SSH and OpenVPN it finds on their ports only.
OTHER_PORTS = ("tcp.port==2222,ssh", "tcp.port==5000,openvpn", "udp.port==5000,openvpn")
TSHARK_OPTIONS = ("-o", "http.desegment_body:FALSE", *(word for port in OTHER_PORTS for word in ("-d", port)))

# Text that tshark works out: the bytes it marks are those of the line, or of a compressed name.
SHOWN = frozenset(HEADER_FIELDS.values()) | {"http.request.full_uri"}


class Sent(NamedTuple):
    """One packet: the flow it belongs to, who sent it, and what it carries."""

    flow: int
    protocol: int
    client_port: int
    server_port: int
    direction: Direction
    payload: bytes


def capture_names() -> list[str]:
    return sorted(path.name for path in CAPTURES.glob("*.pcap"))


def ip_packets_of(capture: str) -> list[bytes]:
    """The packets of a capture from the IP header on."""
    with RawPcapReader(str(CAPTURES / capture)) as reader:
        return [frame[ETHERNET_HEADER_BYTES:] for frame, _ in reader]


@cache
def packets_of(capture: str) -> list[Sent]:
    """The packets of a capture in order. The client is who sent the SYN, or the first packet of all."""
    flows: dict[tuple[bytes, int, bytes, int, int], int] = {}
    packets = []
    for data in ip_packets_of(capture):
        p = wire.decode(data)
        assert p is not None
        key = (p.src, p.sport, p.dst, p.dport, p.protocol)
        back = (p.dst, p.dport, p.src, p.sport, p.protocol)
        if back not in flows and (key not in flows or p.flags & (wire.SYN | wire.ACK) == wire.SYN):
            flows[key] = len(packets)
        direction = Direction.CLIENT_TO_SERVER if key in flows else Direction.SERVER_TO_CLIENT
        number = flows[key if direction is Direction.CLIENT_TO_SERVER else back]
        client, server = (p.sport, p.dport) if direction is Direction.CLIENT_TO_SERVER else (p.dport, p.sport)
        packets.append(Sent(number, p.protocol, client, server, direction, p.payload))
    return packets


def dissector_of(packet: Sent) -> Dissector | None:
    """What reads the flow of this packet when everything is wanted."""
    if packet.protocol == wire.PROTOCOL_TCP:
        return dissector_for(packet.server_port, EVERYTHING, DEFAULT_PORTS)
    ports = packet.client_port, packet.server_port
    return datagram_dissector_for(packet.protocol, *ports, EVERYTHING, DEFAULT_PORTS)


@cache
def our_fields(capture: str) -> list[Fields]:
    """What our dissectors say of each packet."""
    dissectors: dict[int, Dissector | None] = {}
    packets: list[Fields] = []
    for packet in packets_of(capture):
        fields: Fields = {}
        packets.append(fields)
        if packet.flow not in dissectors:
            dissectors[packet.flow] = dissector_of(packet)
        dissector = dissectors[packet.flow]
        if packet.payload and dissector:
            dissector.feed(packet.direction, packet.payload, fields)
    return packets


@cache
def tsharks_fields(capture: str) -> list[Fields]:
    """What tshark says of each packet, for the fields that we have."""
    command = ["tshark", "-r", str(CAPTURES / capture), "-T", "pdml", *TSHARK_OPTIONS]
    pdml = subprocess.run(command, check=True, capture_output=True).stdout
    packets: list[Fields] = []
    for packet in ET.fromstring(pdml):
        fields: Fields = {}
        for element in packet.iter():
            name = element.get("name", "")
            if name in ALL_FIELDS:
                value = True if element.tag == "proto" else _value_of(name, element)
                fields.setdefault(name, []).append(value)
        packets.append(fields)
    return packets


def _value_of(name: str, element: ET.Element) -> Value:
    """The value of a PDML field, in the type that we give it."""
    kind = ALL_FIELDS[name].type
    if kind is FieldType.UINT:
        return int(element.get("show", ""), 0)
    if kind is FieldType.BOOL:
        return element.get("show") != "0"
    if kind is FieldType.STRING and (name in SHOWN or name.startswith(("dns.", "socks."))):
        return element.get("show", "")
    raw = bytes.fromhex(element.get("value", ""))
    return raw.decode("latin-1") if kind is FieldType.STRING else raw
