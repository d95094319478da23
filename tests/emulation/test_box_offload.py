"""What is decided stays with the kernel: passed or dropped there, until the generation changes."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from middlebox.decision import Offload
from tests.emulation.box_process import BoxProcess, everything_on_7000, running_box
from tests.emulation.peers import Peers, until


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


@pytest.fixture
def box(peers: Peers) -> Iterator[BoxProcess]:
    with running_box(peers, everything_on_7000(peers), stand_in=True) as running:
        yield running


def say(sender: socket.socket, receiver: socket.socket, words: str) -> None:
    """Send words and have them read at the other end: the box has answered for good then."""
    sender.sendall(words.encode())
    assert receiver.recv(10_000) == words.encode()


def refresh(peers: Peers, box: BoxProcess, client: socket.socket, server: socket.socket) -> None:
    """Have the generation changed by a packet of another connection, and wait until the kernel knows."""
    old = rules(peers)
    say(client, server, "generation")
    until(lambda: rules(peers) != old, "rules of the next generation")


def rules(peers: Peers) -> str:
    return peers.box.run(["nft", "list", "chain", "inet", "tamperlab", "box"])


def talked(box: BoxProcess) -> list[str]:
    """The first word of every packet with payload that the engine was shown."""
    assert box.stop() == 0
    return [words[0] for words in box.handled() if words]


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_passed_connection_never_comes_back_to_user_space(peers: Peers, box: BoxProcess, ipv6: bool) -> None:
    """After PASS not one further packet of the connection reaches the queue, its ACKs and FINs included."""
    client, server = peers.connection(7000, ipv6=ipv6)
    with client, server:
        say(client, server, f"watched offload={Offload.PASS:d}")
        for number in range(20):
            say(client, server, f"unwatched {number}")
            say(server, client, f"unwatched {number}")
    assert box.stop() == 0
    handled = box.events("handled")
    assert handled[-1]["words"][0] == "watched"
    (ended,) = box.events("run_ended")
    assert ended["offloaded_flows"] == 1


def test_passed_direction_leaves_the_other_watched(peers: Peers, box: BoxProcess) -> None:
    """One direction can be decided alone."""
    client, server = peers.connection(7000)
    with client, server:
        say(client, server, f"first offload={Offload.PASS_CLIENT_TO_SERVER:d}")
        say(client, server, "unwatched")
        say(server, client, "watched")
        say(server, client, f"last offload={Offload.PASS_SERVER_TO_CLIENT:d}")
        say(client, server, "unwatched")  # the first decision still holds
        say(server, client, "unwatched")
    assert talked(box) == ["first", "watched", "last"]


def test_other_connections_are_still_watched(peers: Peers, box: BoxProcess) -> None:
    """A decision is about one connection."""
    one, other = peers.connection(7000), peers.connection(7000)
    with one[0], one[1], other[0], other[1]:
        say(*one, f"first offload={Offload.PASS:d}")
        say(*other, "watched")
        say(*one, "unwatched")
    assert talked(box) == ["first", "watched"]


def test_new_generation_brings_a_passed_connection_back(peers: Peers, box: BoxProcess) -> None:
    """When rules change, what was decided by the old ones is looked at again."""
    one, other = peers.connection(7000), peers.connection(7000)
    with one[0], one[1], other[0], other[1]:
        say(*one, f"first offload={Offload.PASS:d}")
        say(*one, "unwatched")
        refresh(peers, box, *other)
        say(*one, f"watched offload={Offload.PASS:d}")
        say(*one, "unwatched")
    assert talked(box) == ["first", "generation", "watched"]


def test_new_connection_with_the_same_ports_is_watched(peers: Peers, box: BoxProcess) -> None:
    """A decision dies with its connection, also when the ends forget it without the box being told."""
    for peer in (peers.client, peers.server):
        peer.run(["iptables", "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"])
    for _ in range(2):
        client, server = peers.connection(7000, client_port=45678)
        with client, server:
            say(client, server, f"watched offload={Offload.PASS:d}")
            say(client, server, "unwatched")
            for end in (client, server):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert talked(box) == ["watched", "watched"]


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_dropped_connection_is_dropped_by_the_kernel(peers: Peers, box: BoxProcess, ipv6: bool) -> None:
    """After DROP nothing arrives, and retransmissions do not come to user space."""
    client, server = peers.connection(7000, ipv6=ipv6)
    capture = peers.server.capture()
    with client, server:
        say(client, server, "before")
        client.sendall(f"drop offload={Offload.DROP:d}".encode())
        until(lambda: retransmissions(peers) >= 2, "retransmissions of what was dropped")
        server.sendall(b"dropped too")
        for end in (client, server):
            end.settimeout(0.05)
            with pytest.raises(TimeoutError):
                end.recv(1000)
    assert not [data for data in capture.received() if b"drop" in data]
    assert talked(box) == ["before", "drop"]


def test_dropped_direction_leaves_the_other_open(peers: Peers, box: BoxProcess) -> None:
    """Only what the client sends is dropped; what the server sends arrives."""
    client, server = peers.connection(7000)
    with client, server:
        client.sendall(f"drop offload={Offload.DROP_CLIENT_TO_SERVER:d}".encode())
        until(lambda: retransmissions(peers) >= 1, "a retransmission of what was dropped")
        server.sendall(b"still there")
        assert client.recv(1000) == b"still there"
    assert talked(box) == ["drop", "still"]


def test_plain_drop_drops_one_packet(peers: Peers, box: BoxProcess) -> None:
    """Without a decision for the rest, the retransmission comes to user space again."""
    client, server = peers.connection(7000)
    with client, server:
        client.sendall(b"drop")
        until(lambda: len([words for words in box.handled() if words]) >= 2, "the same packet again")
    assert set(talked(box)) == {"drop"}


def retransmissions(peers: Peers) -> int:
    """How often the client's kernel has sent something again."""
    lines = peers.client.run(["cat", "/proc/net/netstat"]).splitlines()
    counters = {
        f"{heads.split()[0]}{name}": int(value)
        for heads, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(heads.split()[1:], values.split()[1:], strict=True)
    }
    return counters["TcpExt:TCPTimeouts"] + counters["TcpExt:TCPLossProbes"]


def test_held_packet_goes_on_when_its_time_has_come(peers: Peers, box: BoxProcess) -> None:
    """What comes later and is not held overtakes it; nothing is lost."""
    client, server = peers.connection(7000)
    with client, server:
        client.sendall(b"hold=50000000 ")
        client.sendall(b"offload=0 ")
        got = b""
        while len(got) < 24:
            got += server.recv(1000)
        assert got == b"hold=50000000 offload=0 "
    assert box.stop() == 0
    (ended,) = box.events("run_ended")
    assert ended["held"] == 1


def test_held_packet_of_a_decided_connection_is_kept_and_decided(peers: Peers, box: BoxProcess) -> None:
    """One answer may both hold a packet and let the rest of its connection go."""
    client, server = peers.connection(7000)
    with client, server:
        say(client, server, f"hold=20000000 offload={Offload.PASS:d}")
        say(client, server, "unwatched")
    assert talked(box) == ["hold=20000000"]


def test_held_packets_go_on_when_the_box_ends(peers: Peers, box: BoxProcess) -> None:
    """A box that is told to end does not swallow what it holds."""
    client, server = peers.connection(7000)
    with client, server:
        client.sendall(b"hold=60000000000")
        until(lambda: ["hold=60000000000"] in box.handled(), "the packet in the box")
        assert box.stop() == 0
        assert server.recv(1000) == b"hold=60000000000"


def payload_on_7000(peers: Peers) -> Path:
    """A profile that reads payload only."""
    profile = peers.folder / "payload.yaml"
    text = everything_on_7000(peers).read_text()
    profile.write_text(text.replace("tcp.port == 7000", "tcp.port == 7000 and tcp.len > 0"))
    return profile


def test_segments_without_payload_stay_in_the_kernel(peers: Peers) -> None:
    """A rule that reads payload is not shown handshakes, bare ACKs and FINs."""
    with running_box(peers, payload_on_7000(peers), stand_in=True) as box:
        client, server = peers.connection(7000)
        with client, server:
            say(client, server, "one")
            say(server, client, "two")
        assert box.stop() == 0
        assert box.handled() == [["one"], ["two"]]


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_engine_is_told_what_conntrack_knows(peers: Peers, ipv6: bool) -> None:
    """Side, sender and first packet of a connection, though no SYN is shown and the ports would mislead."""
    with running_box(peers, payload_on_7000(peers), stand_in=True) as box:
        for _ in range(2):
            client, server = peers.connection(7000, ipv6=ipv6, client_port=1000)
            with client, server:
                say(server, client, "banner")
                say(client, server, "hello")
                server.shutdown(socket.SHUT_RDWR)  # the server waits in TIME_WAIT: its port is free again
                assert client.recv(10) == b""
        assert box.stop() == 0
    told = [(e["words"][0], e["ingress"], e["sent_by"], e["first"]) for e in box.events("handled")]
    connection = [
        ("banner", "outside", "server-to-client", True),
        ("hello", "inside", "client-to-server", False),
    ]
    assert told == connection * 2


def test_whole_gso_packets_reach_the_engine() -> None:
    """With segmentation offload on, a packet larger than any wire carries comes in one piece, and passes."""
    with Peers(offloads=True) as peers, running_box(peers, everything_on_7000(peers), stand_in=True) as box:
        client, server = peers.connection(7000)
        message = b"x" * 200_000
        with client, server:
            client.setblocking(False)
            sent = got = 0
            while got < len(message):
                try:
                    sent += client.send(message[sent:])
                except BlockingIOError:
                    pass
                got += len(server.recv(0x10000))
        assert box.stop() == 0
        lengths = [event["length"] for event in box.events("handled")]
        assert max(lengths) > 20_000
        assert sum(length - 52 for length in lengths if length > 100) == len(message)
