"""VPNs are recognised over either IP version, whatever the programs of today speak it over.

By their first messages, as programs sent them where there is a capture, on ports of no VPN.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import TCP, UDP
from scapy.utils import rdpcap

from tests.emulation.box_process import running_box
from tests.emulation.peers import CLIENT4, CLIENT6, SERVER4, SERVER6, Capture, Peers, until

RECORDED = Path(__file__).parents[1] / "data" / "dissect"
VERSIONS = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
PORT = 7000
CONTROL = b"nothing of a tunnel in here"


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


def first_message(capture: str, layer: type, port: int) -> bytes:
    """The first payload that was sent to a port."""
    packets = (p[layer] for p in rdpcap(str(RECORDED / capture)) if layer in p)
    return next(bytes(p.payload) for p in packets if p.dport == port and len(p.payload))


def came(capture: Capture, payload: bytes) -> bool:
    return any(payload in data for data in capture.received())


def datagrams(peers: Peers, *payloads: bytes, ipv6: bool, protocol: int = socket.IPPROTO_UDP) -> None:
    """Each from an end of its own, in this order."""
    family, here, there = (socket.AF_INET6, CLIENT6, SERVER6) if ipv6 else (socket.AF_INET, CLIENT4, SERVER4)
    kind = socket.SOCK_DGRAM if protocol == socket.IPPROTO_UDP else socket.SOCK_RAW
    for payload in payloads:
        with peers.client.socket(family, kind, protocol) as sender:
            sender.bind((here, 0))
            sender.sendto(payload, (there, PORT if kind == socket.SOCK_DGRAM else 0))


@VERSIONS
@pytest.mark.parametrize(
    ("capture", "port"), [("ike-l2tp.pcap", 1701), ("ike-l2tp.pcap", 500), ("wireguard.pcap", 51821)]
)
def test_first_datagram_of_a_vpn_does_not_arrive(peers: Peers, ipv6: bool, capture: str, port: int) -> None:
    """Another one does, from the next port and behind it."""
    message = first_message(capture, UDP, port)
    with running_box(peers, "tmobile-uk-2012-vpn"):
        arriving = peers.server.capture()
        datagrams(peers, message, CONTROL, ipv6=ipv6)
        until(lambda: came(arriving, CONTROL), "the other datagram")
        assert not came(arriving, message)
        arriving.close()


@VERSIONS
@pytest.mark.parametrize("protocol", [47, 50], ids=["gre", "esp"])
def test_packet_of_a_tunnel_does_not_arrive(peers: Peers, ipv6: bool, protocol: int) -> None:
    """Whatever is in it."""
    # GRE of PPTP, as RFC 2637 4.1
    packet = b"\x30\x01\x88\x0b\x00\x04\x00\x07\x00\x00\x00\x00" + b"ppp frame"
    with running_box(peers, "tmobile-uk-2012-vpn"):
        arriving = peers.server.capture()
        datagrams(peers, packet, ipv6=ipv6, protocol=protocol)
        datagrams(peers, CONTROL, ipv6=ipv6)
        until(lambda: came(arriving, CONTROL), "the datagram")
        assert not came(arriving, packet)
        arriving.close()


@VERSIONS
def test_call_of_pptp_does_not_arrive(peers: Peers, ipv6: bool) -> None:
    """What is said in another connection does."""
    message = first_message("dialogue-pptp.pcap", TCP, 1723)
    with running_box(peers, "tmobile-uk-2012-vpn"):
        arriving = peers.server.capture()
        for payload in (message, CONTROL):
            client, server = peers.connection(PORT, ipv6=ipv6)
            with server, client:
                client.sendall(payload)
                if payload == CONTROL:
                    until(lambda: came(arriving, CONTROL), "what the other connection said")
        assert not came(arriving, message)
        arriving.close()
