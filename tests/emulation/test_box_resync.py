"""A box that loses count gets to see again what the kernel was allowed to pass, live as in a replay."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from middlebox.packet import ACK, RST, SYN, tcp_segment
from tests.emulation.box_process import running_box
from tests.emulation.peers import Capture, Peers, until
from tests.emulation.test_box_replay import (
    FORBIDDEN,
    FROM_CLIENT,
    PORT,
    PROFILE,
    found,
    on_the_wire,
    replayed,
)

FAR = 300_000_000
JUNK = b"\x00 no HTTP at all\r\n"
REQUEST = b"".join(FORBIDDEN)


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


def hear(receiver: socket.socket, words: bytes) -> None:
    got = b""
    while len(got) < len(words):
        got += receiver.recv(1000)
    assert got == words


def of_connections(lines: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """What was seen of TCP: kernels talk of their neighbours, too."""
    return [one for one in found(lines) if one[1]]


def say_with_an_insertion_between(peers: Peers, capture: Capture, sender: str, flags: int) -> None:
    """Junk, after which nobody need look any more; a segment from nowhere, which the ends ignore; then the request."""
    client, server = peers.connection(PORT)
    with client, server:
        for speaker, listener in ((client, server), (server, client)):
            speaker.sendall(JUNK)
            hear(listener, JUNK)
        syn, syn_ack = on_the_wire(capture)[:2]
        here, there, namespace = (
            (syn, syn_ack, peers.client) if sender == "client" else (syn_ack, syn, peers.server)
        )
        stray = tcp_segment(
            src=here.src, dst=here.dst, sport=here.sport, dport=here.dport, seq=(here.seq + FAR) & 0xFFFFFFFF,
            ack=(there.seq + 1) & 0xFFFFFFFF if flags & ACK else 0, flags=flags, window=500, ttl=64,
        )  # fmt: skip
        arriving = (peers.server if sender == "client" else peers.client).capture()
        with namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(stray, (socket.inet_ntoa(here.dst), 0))
        until(
            lambda: stray[20:28] in b"".join(data[20:28] for data in arriving.received()), "the stray segment"
        )
        client.sendall(REQUEST)
        hear(server, REQUEST)


@pytest.mark.parametrize(
    ("knobs", "sender", "flags", "matches"),
    [
        ("second_syn: resync", "client", SYN, 1),
        ("second_syn: resync", "server", SYN | ACK, 1),
        ("second_syn: resync, end_on_rst: false", "client", RST, 0),
        ("resync_on_rst: 1", "client", RST, 1),
        ("resync_on_rst: 1", "server", RST, 1),
        ("second_syn: ignored", "client", SYN, 0),
        ("end_on_rst: false", "client", RST, 0),
    ],
)
def test_connection_that_was_let_go_is_read_again_where_the_box_loses_count(
    knobs: str, sender: str, flags: int, matches: int, peers: Peers, tmp_path: Path
) -> None:
    """Only where a knob says so; the others have seen that it is no HTTP, and never look again."""
    profile = peers.folder / "test.yaml"
    profile.write_text(PROFILE.format(when=FROM_CLIENT, knobs=f"state: synack, {knobs}"))
    with running_box(peers, profile) as box:
        capture = peers.box.capture("inside")
        say_with_an_insertion_between(peers, capture, sender, flags)
        assert box.stop() == 0
        live = of_connections(box.events())
    assert [event for event, *_ in live].count("rule_matched") == matches
    assert live == of_connections(replayed(profile, capture, tmp_path))
