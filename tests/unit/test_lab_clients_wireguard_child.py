"""The WireGuard client's own process: what it sends through the tunnel, and its talk with a peer of its own kind."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest
from scapy.layers.inet import IP, UDP

pytest.importorskip(
    "wireguard", reason="no WireGuard for this kind of processor; make setup-servers installs it"
)

from wireguard import Handshake, Initiator, KeyPair, PrivateKey

from lab.clients.wireguard_child import MESSAGE, datagram, talk


def test_wireguard_datagram_is_what_scapy_would_have_made() -> None:
    """Addresses, lengths and the header's checksum; a UDP checksum of 0 says that there is none."""
    made = datagram("198.51.100.2", "198.51.100.1", b"hello")
    theirs = IP(id=1, src="198.51.100.2", dst="198.51.100.1") / UDP(sport=7007, dport=7, chksum=0) / b"hello"
    assert made == bytes(theirs)


@pytest.fixture
def line() -> tuple[socket.socket, socket.socket]:
    """Both ends of a line for datagrams."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)


def test_wireguard_talk_without_an_answer_is_a_timeout(line: tuple[socket.socket, socket.socket]) -> None:
    """One initiation was sent, 148 bytes long, and nothing else."""
    ours, theirs = line
    with ours, theirs:
        initiator = Initiator(PrivateKey.generate(), PrivateKey.generate().public_key)
        assert talk(initiator, ours, b"", 0.1) == "timeout"
        theirs.setblocking(False)
        assert len(theirs.recv(2000)) == 148
        with pytest.raises(BlockingIOError):
            theirs.recv(2000)


def test_wireguard_talk_asks_once_and_hears_the_answer(line: tuple[socket.socket, socket.socket]) -> None:
    """After the handshake the question comes through the tunnel, and what comes back through it ends the talk."""
    ours, theirs = line
    own, peer = PrivateKey.generate(), PrivateKey.generate()
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        theirs.settimeout(10)
        talking = pool.submit(talk, Initiator(own, peer.public_key), ours, MESSAGE, 10)
        handshake = Handshake(peer, own.public_key)
        handshake.decode_handshake_req(theirs.recv(2000))
        theirs.send(handshake.encode_handshake_res())
        responder = Initiator(peer, own.public_key)
        handshake.derive_keypair(keys := KeyPair())
        responder.curr_keypair, responder.state_connected = keys, True
        assert MESSAGE in responder.decode_packet(theirs.recv(2000))
        responder.encode_transport(MESSAGE)
        theirs.send(responder.staged_outbound.popleft())
        assert talking.result() == "answered"
