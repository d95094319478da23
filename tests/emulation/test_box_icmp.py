"""`icmp` on a wire: what Linux makes of it is what it makes of a real router's word."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from middlebox.packet import decode
from tests.emulation.box_process import running_box
from tests.emulation.peers import CLIENT4, CLIENT6, SERVER4, SERVER6, SLOW_MACHINE_S, Peers, until

FORBIDDEN = """
profile: forbidden
placement: in-path
source: chosen
rules:
  - name: forbid
    when: tcp.dstport == 7000 and tcp.flags.syn == 1 or udp.dstport == 7000
    do: [{icmp: {towards: client, type: 3, code: 13, type6: 1, code6: 1}}, {drop: packet}]
"""

VERDICTS = [
    pytest.param(False, errno.EHOSTUNREACH, id="ipv4"),
    pytest.param(True, errno.EACCES, id="ipv6"),
]
"""What Linux answers a socket whose packets are forbidden: icmp_err_convert[] of net/ipv4/icmp.c, tab_unreach[] of
net/ipv6/icmp.c."""


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


def profile(peers: Peers) -> Path:
    path = peers.folder / "forbidden.yaml"
    path.write_text(FORBIDDEN)
    return path


def asking(peers: Peers, kind: int, *, ipv6: bool) -> socket.socket:
    """A socket of the client's that waits for as long as a slow machine may take."""
    family, here = (socket.AF_INET6, CLIENT6) if ipv6 else (socket.AF_INET, CLIENT4)
    made = peers.client.socket(family, kind)
    made.bind((here, 0))
    made.settimeout(SLOW_MACHINE_S)
    return made


@pytest.mark.parametrize(("ipv6", "error"), VERDICTS)
def test_icmp_at_a_syn_ends_the_connecting(peers: Peers, ipv6: bool, error: int) -> None:
    """The client's connect(2) fails with what stands for a forbidden way, and no SYN has come to the server."""
    with running_box(peers, profile(peers)) as box, asking(peers, socket.SOCK_STREAM, ipv6=ipv6) as client:
        arriving = peers.server.capture()
        with pytest.raises(OSError) as failed:
            client.connect((SERVER6 if ipv6 else SERVER4, 7000))
        assert failed.value.errno == error
        assert not any(p.dport == 7000 for p in map(decode, arriving.received()) if p)
        until(lambda: box.events("packet_forged"), "the event of what was forged")
        assert {event["towards"] for event in box.events("packet_forged")} == {"client"}


@pytest.mark.parametrize(("ipv6", "error"), VERDICTS)
def test_icmp_at_a_datagram_is_told_to_its_sender(peers: Peers, ipv6: bool, error: int) -> None:
    """The next call on the socket fails likewise; a datagram to another port arrives."""
    there = SERVER6 if ipv6 else SERVER4
    with running_box(peers, profile(peers)), asking(peers, socket.SOCK_DGRAM, ipv6=ipv6) as client:
        arriving = peers.server.capture()
        client.connect((there, 7000))
        client.send(b"forbidden")
        with pytest.raises(OSError) as failed:
            client.recv(1000)
        assert failed.value.errno == error
        with asking(peers, socket.SOCK_DGRAM, ipv6=ipv6) as other:
            other.sendto(b"allowed", (there, 7001))
        until(lambda: any(b"allowed" in data for data in arriving.received()), "the other datagram")
        assert not any(b"forbidden" in data for data in arriving.received())
