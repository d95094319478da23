"""Packets of a new connection that wait in the queue at the same time: each of them leaves the box."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import pytest

from middlebox.packet import ACK, PROTOCOL_UDP, PSH, RST, SYN, decode, tcp_segment
from tests.emulation.box_process import everything_on_7000, running_box
from tests.emulation.peers import CLIENT4, CLIENT6, SERVER4, SERVER6, SLOW_MACHINE_S, Peers, until

PORT = 7000
PROFILE = f"""
profile: twins
title: Sees every segment of one port, and does nothing
placement: in-path
source: chosen
rules:
  - name: seen
    when: tcp.dstport == {PORT}
    do: [log]
"""
TTL = 64
ENDS = {4: (socket.AF_INET, CLIENT4, SERVER4), 6: (socket.AF_INET6, CLIENT6, SERVER6)}


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


def without_waiting(family: int) -> list[bytes]:
    """A SYN and three segments, one right behind the other."""
    kind, client, server = ENDS[family]
    src, dst = socket.inet_pton(kind, client), socket.inet_pton(kind, server)
    segments = [
        (SYN, 100, b""),
        (PSH | ACK, 101, b"one"),
        (PSH | ACK, 104, b"two"),
        (PSH | ACK, 107, b"three"),
    ]
    return [
        tcp_segment(src=src, dst=dst, sport=20001, dport=PORT, seq=seq, ack=1, flags=flags, window=500, ttl=TTL,
                    payload=payload)
        for flags, seq, payload in segments
    ]  # fmt: skip


def from_client(seen: list[bytes]) -> list[tuple[int, int, bytes]]:
    """(seq, TTL, payload) of what goes to the server's port. The client's kernel, which knows nothing, sends a RST."""
    decoded = [p for p in map(decode, seen) if p is not None and p.dport == PORT and not p.flags & RST]
    return [(p.seq, p.ttl, p.payload) for p in decoded]


@pytest.mark.parametrize("family", ENDS)
def test_what_waits_together_leaves_together(family: int, peers: Peers) -> None:
    """The kernel knows a connection by the first packet that leaves, and drops the others if they go the same way."""
    profile = peers.folder / "twins.yaml"
    profile.write_text(PROFILE)
    packets = without_waiting(family)
    kind, _, server = ENDS[family]
    with running_box(peers, profile) as box, peers.server.socket(kind, socket.SOCK_STREAM) as listening:
        listening.bind((server, PORT))
        listening.listen()  # the answer to a SYN without a listener ends what the kernel knows of the connection
        inside, outside = peers.box.capture("inside"), peers.box.capture("outside")
        box.process.send_signal(signal.SIGSTOP)
        with peers.client.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            for packet in packets:
                raw.sendto(packet, (server, 0))
        sent = from_client(packets)
        until(lambda: from_client(inside.received()) == sent, "the packets on the box's doorstep")
        box.process.send_signal(signal.SIGCONT)

        def left() -> list[tuple[int, int, bytes]]:
            return from_client([data for came_in, data in outside.packets() if not came_in])

        expected = [(seq, TTL - 1, payload) for seq, _, payload in sent]
        until(lambda: len(left()) == len(expected), "all of them behind the box")
        assert left() == expected
        assert box.stop() == 0
        assert [e["trigger"]["length"] for e in box.events("rule_matched")][:4] == [0, 3, 3, 5]


@pytest.mark.parametrize("family", ENDS)
def test_what_comes_while_the_first_is_held_leaves_too(family: int, peers: Peers) -> None:
    """Of a connection older than the box, whose first packet is held: the kernel knows it only when that leaves."""
    kind, client, server = ENDS[family]
    src, dst = socket.inet_pton(kind, client), socket.inet_pton(kind, server)
    words = [f"hold=300000000 {word}".encode() for word in ("one", "two")]
    for command in (
        "iptables",
        "ip6tables",
    ):  # the server's RST would end what the kernel knows of the connection
        peers.server.run([command, "-A", "INPUT", "-p", "tcp", "-j", "DROP"])
    with (
        running_box(peers, everything_on_7000(peers), stand_in=True) as box,
        peers.client.socket(kind, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
    ):
        outside = peers.box.capture("outside")
        for number, payload in enumerate(words):
            packet = tcp_segment(
                src=src, dst=dst, sport=20001, dport=PORT, seq=100 + len(payload) * number, ack=1, flags=PSH | ACK,
                window=500, ttl=TTL, payload=payload,
            )  # fmt: skip
            raw.sendto(packet, (server, 0))
            until(lambda: len(box.handled()) == number + 1, "the box has taken it up")  # noqa: B023  at once

        def left() -> list[bytes]:
            return [
                payload
                for _, _, payload in from_client([data for came_in, data in outside.packets() if not came_in])
            ]

        until(lambda: len(left()) == len(words), "both behind the box")
        assert left() == words
        assert box.stop() == 0


@pytest.mark.parametrize("family", ENDS)
def test_datagrams_that_wait_together_leave_together_and_one_of_them_is_the_first(
    family: int, peers: Peers
) -> None:
    """A rule that reads a flow from its beginning must not begin anew with each of them."""
    kind, _, server = ENDS[family]
    profile = peers.folder / "datagrams.yaml"
    # Payload only: an engine that gets every packet knows by itself which is the first.
    profile.write_text(
        PROFILE.replace(f"tcp.dstport == {PORT}", f'udp.dstport == {PORT} and udp.payload contains "e"')
    )
    words = [b"one", b"two", b"three"]
    with (
        running_box(peers, profile, stand_in=True) as box,
        peers.server.socket(kind, socket.SOCK_DGRAM) as receiver,
        peers.client.socket(kind, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind((server, PORT))
        receiver.settimeout(SLOW_MACHINE_S)
        sender.connect((server, PORT))
        inside = peers.box.capture("inside")
        box.process.send_signal(signal.SIGSTOP)
        for word in words:
            sender.send(word)

        def on_the_doorstep() -> int:
            decoded = [p for p in map(decode, inside.received()) if p is not None]
            return sum(p.protocol == PROTOCOL_UDP and p.dport == PORT for p in decoded)

        until(lambda: on_the_doorstep() == len(words), "the datagrams on the box's doorstep")
        box.process.send_signal(signal.SIGCONT)
        assert [receiver.recv(100) for _ in words] == words
        assert box.stop() == 0
    assert [(e["words"], e["first"]) for e in box.events("handled")] == [
        (["one"], True),
        (["two"], False),
        (["three"], False),
    ]
