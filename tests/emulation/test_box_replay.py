"""What a live box does on a wire is what a replay of the packets on that wire says, from their first segment on."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from middlebox.capturefile import CaptureWriter, Interface
from middlebox.engine import Engine
from middlebox.eventlog import EventLog
from middlebox.load import load_deployment
from middlebox.packet import ACK, PSH, Packet, decode, tcp_segment
from middlebox.replay import replay
from tests.emulation.box_process import running_box
from tests.emulation.peers import Capture, Peers, until
from tests.unit.tls_bytes import client_hello, record

PORT = 7000
RAW = Interface(101, 0, 10**9)
PROFILE = """
profile: test
placement: on-path
tcp: {{{knobs}}}
rules:
  - name: word
    when: {when}
    do: [log]
"""
FORBIDDEN = (b"GET /ultra", b"surf HTTP/1.1\r\n\r\n")
_HELLO = record(22, client_hello())
HELLO = (_HELLO[:20], _HELLO[20:])
FROM_CLIENT = 'tcp.dstport == 7000 and http.request.uri contains "ultrasurf"'
HELLO_TYPE = "tcp.dstport == 7000 and tls.handshake.type == 1"
FROM_SERVER = 'tcp.srcport == 7000 and tcp.payload contains "ultrasurf"'


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


def on_the_wire(capture: Capture) -> list[Packet]:
    """The packets of the connection so far."""
    decoded = (decode(data) for _, data in capture.packets())
    return [p for p in decoded if p is not None and p.protocol == socket.IPPROTO_TCP]


def say_the_second_words_first(
    peers: Peers, capture: Capture, words: tuple[bytes, bytes], sender: str
) -> None:
    """A connection in which a segment made by hand overtakes what comes before it; then the sender says both."""
    client, server = peers.connection(PORT)
    ends = [(client, peers.client), (server, peers.server)]
    (here, here_namespace), (there, there_namespace) = ends if sender == "client" else ends[::-1]
    arriving = there_namespace.capture()
    with client, server:
        handshake = until(lambda: on_the_wire(capture)[2:] and on_the_wire(capture), "the handshake")
        mine, theirs = handshake[:2] if sender == "client" else handshake[1::-1]
        early = tcp_segment(
            src=mine.src, dst=mine.dst, sport=mine.sport, dport=mine.dport, seq=mine.seq + 1 + len(words[0]),
            ack=theirs.seq + 1, flags=PSH | ACK, window=500, ttl=64, payload=words[1],
        )  # fmt: skip
        with here_namespace.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            raw.sendto(early, (socket.inet_ntoa(mine.dst), 0))
        until(lambda: any(data.endswith(words[1]) for data in arriving.received()), "the early segment")
        here.sendall(words[0])
        here.sendall(words[1])
        got = b""
        while len(got) < len(b"".join(words)):
            got += there.recv(1000)
        assert got == b"".join(words)


def found(lines: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    """What was seen and what it was about, as far as it does not depend on when."""
    of_interest = [e for e in lines if e["event"] in ("flow_seen", "rule_matched")]
    return [(e["event"], e["flow"]["client_port"], e.get("trigger", {}).get("seq", 0)) for e in of_interest]


def replayed(profile: Path, capture: Capture, folder: Path) -> list[dict[str, Any]]:
    """The events of a box that is given the captured packets in place of a wire."""
    with CaptureWriter(folder / "wire.pcapng") as writer:
        for number, (_, data) in enumerate(capture.packets()):
            writer.write(number * 1000, RAW, data)
    with EventLog(folder / "replay.jsonl") as log:
        replay(folder / "wire.pcapng", Engine(load_deployment(profile), Random(1), 0), log=log)
    return [json.loads(line) for line in (folder / "replay.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("when", "knobs", "sender", "matches"),
    [
        (FROM_CLIENT, "", "client", 1),
        (FROM_SERVER, "", "server", 1),
        (FROM_CLIENT, "reassembly: none", "client", 0),
        (FROM_CLIENT, "reassembly: in-order", "client", 0),
        (FROM_CLIENT, "state: syn", "client", 1),
        (FROM_CLIENT, "state: synack", "client", 1),
    ],
)
def test_first_words_that_come_second_are_read_live_as_in_a_replay(
    when: str, knobs: str, sender: str, matches: int, peers: Peers, tmp_path: Path
) -> None:
    """Where a connection begins is known before its first payload, whichever segment of it comes first."""
    live, replayed = both(peers, tmp_path, PROFILE.format(when=when, knobs=knobs), FORBIDDEN, sender)
    assert [event for event, *_ in live].count("rule_matched") == matches
    assert live == replayed


@pytest.mark.parametrize(("knobs", "matches"), [("", 0), ("state: syn", 1)])
def test_tls_whose_first_words_come_second_is_judged_live_as_in_a_replay(
    knobs: str, matches: int, peers: Peers, tmp_path: Path
) -> None:
    """Where only TLS is wanted the kernel lets go of what does not begin like it, unless the box wants the SYN."""
    live, replayed = both(peers, tmp_path, PROFILE.format(when=HELLO_TYPE, knobs=knobs), HELLO, "client")
    assert [event for event, *_ in live].count("rule_matched") == matches
    assert live == replayed


def test_tls_in_order_is_judged_live_as_in_a_replay(peers: Peers, tmp_path: Path) -> None:
    """Nothing but payload is shown in either: no handshake, no bare ACK begins a connection there."""
    empty_first = (b"", b"".join(HELLO))
    live, replayed = both(peers, tmp_path, PROFILE.format(when=HELLO_TYPE, knobs=""), empty_first, "client")
    assert [event for event, *_ in live] == ["flow_seen", "rule_matched"]
    assert live == replayed


def both(
    peers: Peers, folder: Path, text: str, words: tuple[bytes, bytes], sender: str
) -> tuple[list[Any], list[Any]]:
    """What a live box finds in such a connection, and what it finds in the packets on its inside."""
    profile = peers.folder / "test.yaml"
    profile.write_text(text)
    with running_box(peers, profile) as box:
        capture = peers.box.capture("inside")
        say_the_second_words_first(peers, capture, words, sender)
        assert box.stop() == 0
        live = box.events()
    return found(live), found(replayed(profile, capture, folder))
