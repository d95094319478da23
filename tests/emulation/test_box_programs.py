"""SSH, SOCKS and what looks random are recognised over either IP version, by what real programs say first."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from random import Random

import pytest

from middlebox.packet import decode
from tests.emulation.box_process import running_box
from tests.emulation.peers import SERVER4, SERVER6, Capture, Namespace, Peers, until

BOX = """
profile: watcher
placement: in-path
source: chosen
rules:
  - name: drop-it
    when: tcp.dstport == 7000 and {when}
    do: [{{drop: packet}}]
"""
WATCHED, OTHER = 7000, 7001
VERSIONS = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])

SSH = ("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=60", "-p", "{port}", "nobody@{host}")
SOCKS5 = ("curl", "-q", "--max-time", "60", "--socks5-hostname", "{bracketed}:{port}", "http://web.example/")
SOCKS4 = ("curl", "-q", "--max-time", "60", "--socks4a", "{bracketed}:{port}", "http://web.example/")

SPEAKERS = [
    pytest.param(SSH, "ssh", b"SSH-2.0-OpenSSH", id="ssh"),
    # RFC 1928 section 3: version 5, and which methods it offers; SOCKS 4A: version 4, command 1, port 80, 0.0.0.x.
    pytest.param(SOCKS5, "socks.version == 5", b"\x05", id="socks5"),
    pytest.param(SOCKS4, "socks.version == 4", b"\x04\x01\x00\x50\x00\x00\x00", id="socks4a"),
]
"""A client whose first words need no answer, a rule, how these words begin."""


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


@contextmanager
def listening(server: Namespace, *, ipv6: bool) -> Iterator[None]:
    """Connections to both ports are taken by the kernel, and nothing is ever said to them."""
    with ExitStack() as stack:
        for port in (WATCHED, OTHER):
            family = socket.AF_INET6 if ipv6 else socket.AF_INET
            listener = stack.enter_context(server.socket(family, socket.SOCK_STREAM))
            listener.bind((SERVER6 if ipv6 else SERVER4, port))
            listener.listen()
        yield


def said(capture: Capture, port: int, first: bytes) -> bool:
    """Whether a segment to this port begins so."""
    found = (p for p in map(decode, capture.received()) if p is not None)
    return any(p.dport == port and p.payload.startswith(first) for p in found)


@VERSIONS
@pytest.mark.parametrize(("command", "when", "first"), SPEAKERS)
def test_first_words_of_a_program_do_not_arrive(
    peers: Peers, ipv6: bool, command: Sequence[str], when: str, first: bytes
) -> None:
    """The same program on a port that the rule does not name is heard."""
    profile = peers.folder / "watcher.yaml"
    profile.write_text(BOX.format(when=when))
    host = SERVER6 if ipv6 else SERVER4
    with running_box(peers, profile) as box, listening(peers.server, ipv6=ipv6):
        arriving = peers.server.capture()
        for port in (WATCHED, OTHER):
            argv = [
                word.format(port=port, host=host, bracketed=f"[{host}]" if ipv6 else host) for word in command
            ]
            program = peers.client.popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                if port == WATCHED:
                    until(lambda: box.events("packet_dropped"), "the program's first words")
                else:
                    until(lambda: said(arriving, OTHER, first), "what it says on the other port")
            finally:
                program.kill()
                program.wait()
        assert not said(arriving, WATCHED, first)


@VERSIONS
def test_random_bytes_do_not_arrive_and_text_does(peers: Peers, ipv6: bool) -> None:
    """A thousand random bytes have nearly eight bits each, English has between four and five (Shannon 1951)."""
    profile = peers.folder / "watcher.yaml"
    profile.write_text(BOX.format(when="payload.entropy > 7"))
    random, text = Random(1).randbytes(1000), b"the quick brown fox jumps over the lazy dog; " * 20
    with running_box(peers, profile) as box:
        arriving = peers.server.capture()
        for payload in (random, text):
            client, server = peers.connection(WATCHED, ipv6=ipv6)
            with client, server:
                client.sendall(payload)
                if payload == text:
                    assert server.recv(2000)
                    break
                until(lambda: box.events("packet_dropped"), "the random bytes")
        assert said(arriving, WATCHED, text[:100])
        assert not said(arriving, WATCHED, random[:100])
