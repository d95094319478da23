"""Captures written by scapy, for what reads captures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.utils import PcapWriter

CLIENT, SERVER = "192.0.2.11", "203.0.113.25"
START_S = 1_700_000_000


def talk(*, ipv6: bool = False, link: Any = None, server_port: int = 587) -> list[Any]:
    """A submission up to STARTTLS, a tenth of a second between packets; scapy builds it."""
    packets = []
    seqs = {"client": 1000, "server": 5000}
    macs = {"client": "02:00:00:00:00:0a", "server": "02:00:00:00:00:0b"}
    addresses = (
        {"client": "2001:db8:1::11", "server": "2001:db8:3::25"}
        if ipv6
        else {"client": CLIENT, "server": SERVER}
    )
    ports = {"client": 40000, "server": server_port}
    lines = [
        ("client", "S", b""), ("server", "SA", b""), ("client", "A", b""), ("server", "PA", b"220 mail ESMTP\r\n"),
        ("client", "PA", b"EHLO sim1\r\n"), ("server", "PA", b"250-mail\r\n250 STARTTLS\r\n"),
        ("client", "PA", b"STARTTLS\r\n"), ("server", "A", b""),
    ]  # fmt: skip
    for number, (sender, flags, payload) in enumerate(lines):
        other = "server" if sender == "client" else "client"
        layer = IPv6 if ipv6 else IP
        packet = layer(src=addresses[sender], dst=addresses[other]) / TCP(
            sport=ports[sender],
            dport=ports[other],
            flags=flags,
            seq=seqs[sender],
            ack=seqs[other] * ("A" in flags),
        )
        packet /= payload
        seqs[sender] += len(payload) + ("S" in flags)
        if link is None:
            packet = Ether(src=macs[sender], dst=macs[other]) / packet
        elif link is not IP:
            packet = link() / packet
        packet.time = START_S + number / 10
        packets.append(packet)
    return packets


def write(path: Path, packets: list[Any], **options: Any) -> Path:
    with PcapWriter(str(path), **options) as writer:
        for packet in packets:
            writer.write(packet)
    return path
