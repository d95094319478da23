"""`delay` on a wire: what is held arrives so much later, in its order, and is written down."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.emulation.box_process import BoxProcess, running_box
from tests.emulation.peers import CLIENT4, CLIENT6, SERVER4, SERVER6, SLOW_MACHINE_S, Peers, until

DELAY_S = 0.4
LATE = """
profile: late
placement: in-path
source: chosen
rules:
  - name: hold
    when: udp.dstport == 7000 or tcp.dstport == 7000 and tcp.len > 0
    do: [{delay: 400ms}]
"""
VERSIONS = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


@pytest.fixture
def box(peers: Peers) -> Iterator[BoxProcess]:
    path = peers.folder / "late.yaml"
    path.write_text(LATE)
    with running_box(peers, path) as running:
        yield running


def written(box: BoxProcess, count: int) -> int:
    """The ground truth has so many packets that were held, and for how long. How many it has."""
    until(lambda: len(box.events("packet_held")) >= count, "events of what was held")
    held = box.events("packet_held")
    assert {event["rule"] for event in held} == {"hold"}
    assert {event["until_ns"] - event["time_ns"] for event in held} == {DELAY_S * 1e9}
    return len(held)


@VERSIONS
def test_delayed_datagrams_arrive_late_and_in_order(peers: Peers, box: BoxProcess, ipv6: bool) -> None:
    """None of ten arrives less than the delay after it was sent, and none before an earlier one."""
    family, here, there = (socket.AF_INET6, CLIENT6, SERVER6) if ipv6 else (socket.AF_INET, CLIENT4, SERVER4)
    with (
        peers.client.socket(family, socket.SOCK_DGRAM) as client,
        peers.server.socket(family, socket.SOCK_DGRAM) as server,
    ):
        client.bind((here, 0))
        server.bind((there, 7000))
        server.settimeout(SLOW_MACHINE_S)
        sent_s = []
        for number in range(10):
            sent_s.append(time.monotonic())
            client.sendto(b"%d" % number, (there, 7000))
        arrived = [(server.recv(100), time.monotonic()) for _ in range(10)]
    assert [int(payload) for payload, _ in arrived] == list(range(10))
    assert all(at_s - sent >= DELAY_S for sent, (_, at_s) in zip(sent_s, arrived, strict=True))
    assert written(box, 10) == 10


@VERSIONS
def test_delayed_data_of_a_connection_arrive_late(peers: Peers, box: BoxProcess, ipv6: bool) -> None:
    """So do those that are sent again meanwhile; what is asked comes once."""
    client, server = peers.connection(7000, ipv6=ipv6)
    with client, server:
        sent_s = time.monotonic()
        client.sendall(b"question")
        assert server.recv(100) == b"question"
        assert time.monotonic() - sent_s >= DELAY_S
        server.sendall(b"answer")
        assert client.recv(100) == b"answer"
    assert written(box, 1) >= 1
