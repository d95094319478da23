"""When only TLS is wanted the kernel itself lets go of what does not begin like it, and of nothing else."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from middlebox.packet import ACK, PSH, TCP_HEADER_BYTES, Packet, decode, tcp_segment
from tests.emulation.box_process import BoxProcess, running_box
from tests.emulation.peers import CLIENT4, SERVER4, Peers, until

SNI = """
profile: sni
title: A name filter
placement: on-path
source: chosen
tcp: {{check_checksum: {checks}}}
rules:
  - name: blocked
    when: tls.handshake.extensions_server_name contains "blocked"
    do: [log]
"""
HELLO = b"\x16\x03\x01\x00\x05hello"


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


@pytest.fixture
def box(peers: Peers) -> Iterator[BoxProcess]:
    with running_box(peers, "watch-sni", stand_in=True) as running:
        yield running


def say(sender: socket.socket, receiver: socket.socket, words: bytes) -> None:
    sender.sendall(words)
    assert receiver.recv(1000) == words


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x02 is no TLS", b"\x18\x03", b"\x00"])
def test_connection_that_is_not_tls_never_comes_to_user_space(
    peers: Peers, box: BoxProcess, first: bytes, ipv6: bool
) -> None:
    """Its first payload decides, in both directions, whatever looks like TLS later."""
    client, server = peers.connection(7000, ipv6=ipv6)
    with client, server:
        say(client, server, first)
        say(server, client, HELLO)
        say(client, server, HELLO)
    assert box.stop() == 0
    assert box.handled() == []


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("first", [HELLO, b"\x16", b"\x16\x03", b"\x15\x03\x03\x00\x02\x01\x00"])
def test_connection_that_may_be_tls_is_watched(
    peers: Peers, box: BoxProcess, first: bytes, ipv6: bool
) -> None:
    """A single byte of a record is enough to be looked at, and so is all that follows."""
    client, server = peers.connection(7000, ipv6=ipv6)
    with client, server:
        say(client, server, first)
        say(client, server, b"more of it")
        say(server, client, b"an answer")
    assert box.stop() == 0
    assert len(box.handled()) == 3


def test_banner_of_a_mail_server_does_not_end_the_watch(peers: Peers, box: BoxProcess) -> None:
    """Where STARTTLS is spoken TLS comes later."""
    client, server = peers.connection(587)
    with client, server:
        say(server, client, b"220 mail.example ESMTP\r\n")
        say(client, server, b"EHLO sim1.example\r\n")
        say(client, server, HELLO)
    assert box.stop() == 0
    assert len(box.handled()) == 4  # and the SYN+ACK, which says where both begin


@pytest.mark.parametrize(("checks", "watched"), [("true", 1), ("false", 0)])
def test_junk_with_a_wrong_checksum_decides_what_the_box_would(
    peers: Peers, checks: str, watched: int
) -> None:
    """What the server throws away ends the watch of a box that reads it, and not of one that checks."""
    profile = peers.folder / "sni.yaml"
    profile.write_text(SNI.format(checks=checks))
    with running_box(peers, profile, stand_in=True) as box:
        send_junk_then_hello(peers)
        assert box.stop() == 0
        assert len(box.handled()) == watched


def send_junk_then_hello(peers: Peers) -> None:
    """A segment with a wrong checksum that no TLS begins with, then TLS."""
    capture = peers.client.capture()
    client, server = peers.connection(7000)
    with client, server:
        until(lambda: len(tcp_packets(capture.packets())) >= 3, "the handshake in the capture")
        last = tcp_packets(capture.packets())[2]
        junk = tcp_segment(
            src=socket.inet_aton(CLIENT4), dst=socket.inet_aton(SERVER4), sport=last.sport, dport=last.dport,
            seq=last.seq, ack=last.ack, flags=ACK | PSH, window=500, ttl=64, payload=b"junk junk",
        )  # fmt: skip
        at = 20 + TCP_HEADER_BYTES - 4
        junk = junk[:at] + bytes((junk[at] ^ 0xFF,)) + junk[at + 1 :]
        arrived = peers.server.capture()
        with peers.client.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(junk, (SERVER4, 0))
        until(lambda: any(b"junk" in data for data in arrived.received()), "the junk at the server")
        say(client, server, HELLO)


def tcp_packets(packets: list[tuple[bool, bytes]]) -> list[Packet]:
    decoded = [decode(data) for _, data in packets]
    return [packet for packet in decoded if packet is not None and packet.protocol == socket.IPPROTO_TCP]
