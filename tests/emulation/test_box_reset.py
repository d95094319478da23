"""Forged resets against real Linux: both ends die, on-path is honest, and the wire shows what was written."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from middlebox.packet import RST, decode, tcp_segment, with_ttl
from tests.emulation.box_process import everything_on_7000, running_box
from tests.emulation.peers import CLIENT4, CLIENT6, SERVER4, SERVER6, Peers, until


@pytest.fixture(params=["as-root-or-user", "as-user"])
def peers(request: pytest.FixtureRequest) -> Iterator[Peers]:
    with Peers(user=request.param == "as-user") as made:
        yield made


@pytest.fixture
def plain_peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


def submission_until_starttls(client: socket.socket, server: socket.socket) -> None:
    """The beginning of a mail submission, every line read by the other end before the next is sent."""
    for sender, receiver, line in (
        (server, client, b"220 mail.example ESMTP\r\n"),
        (client, server, b"EHLO sim1.example\r\n"),
        (server, client, b"250-mail.example\r\n250 STARTTLS\r\n"),
    ):
        sender.sendall(line)
        assert receiver.recv(1000) == line
    client.sendall(b"STARTTLS\r\n")


def forged_reset(*, ttl: int = 64, seq: int = 3) -> bytes:
    """A RST from the client's address to the server's, from port 1 to port 2."""
    src, dst = socket.inet_aton(CLIENT4), socket.inet_aton(SERVER4)
    return tcp_segment(src=src, dst=dst, sport=1, dport=2, seq=seq, ack=4, flags=RST, window=5, ttl=ttl)


def dies_of_reset(end: socket.socket) -> bool:
    """Whether the socket, once what is still in it is read, reports a reset."""
    try:
        while end.recv(1000):
            pass
    except ConnectionResetError:
        return True
    return False


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_control_without_box_connection_lives(plain_peers: Peers, ipv6: bool) -> None:
    """Nothing but the box resets anything: the same bytes pass when it is not there."""
    client, server = plain_peers.connection(587, ipv6=ipv6)
    with client, server:
        submission_until_starttls(client, server)
        assert server.recv(1000) == b"STARTTLS\r\n"
        server.sendall(b"220 go ahead\r\n")
        assert client.recv(1000) == b"220 go ahead\r\n"


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_starttls_kills_the_connection_at_both_ends(peers: Peers, ipv6: bool) -> None:
    """Real Linux sockets at both ends believe the forged resets."""
    with running_box(peers, "tmobile-uk-2012") as box:
        client, server = peers.connection(587, ipv6=ipv6)
        with client, server:
            submission_until_starttls(client, server)
            assert dies_of_reset(client)
            assert dies_of_reset(server)
        assert box.stop() == 0
        towards = [event["towards"] for event in box.events("packet_forged")]
        assert sorted(towards) == ["client", "server"]


def test_other_port_lives(plain_peers: Peers) -> None:
    """The same words on a port that no rule names pass untouched, unseen by the box."""
    with running_box(plain_peers, "tmobile-uk-2012") as box:
        client, server = plain_peers.connection(2525)
        with client, server:
            submission_until_starttls(client, server)
            assert server.recv(1000) == b"STARTTLS\r\n"
        assert box.stop() == 0
        (ended,) = box.events("run_ended")
        assert ended["packets"] == 0


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_original_passes_before_the_forged_reset(plain_peers: Peers, ipv6: bool) -> None:
    """On-path: the server's capture holds the trigger first, then the forgery."""
    with running_box(plain_peers, "tmobile-uk-2012"):
        capture = plain_peers.server.capture()
        client, server = plain_peers.connection(587, ipv6=ipv6)
        with client, server:
            submission_until_starttls(client, server)
            assert dies_of_reset(client)
            assert dies_of_reset(server)
        arrived = [packet for data in capture.received() if (packet := decode(data)) and packet.protocol == 6]
    kinds = [
        "rst" if p.flags & RST else "trigger" for p in arrived if p.flags & RST or b"STARTTLS" in p.payload
    ]
    assert kinds == ["trigger", "rst"]


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_events_hold_the_very_packets_that_arrive(plain_peers: Peers, ipv6: bool) -> None:
    """`packet_forged` as it leaves the box is what each end receives, byte for byte."""
    with running_box(plain_peers, "tmobile-uk-2012") as box:
        captures = {"client": plain_peers.client.capture(), "server": plain_peers.server.capture()}
        client, server = plain_peers.connection(587, ipv6=ipv6)
        with client, server:
            submission_until_starttls(client, server)
            assert dies_of_reset(client)
            assert dies_of_reset(server)
        assert box.stop() == 0
        for event in box.events("packet_forged"):
            resets = [
                data
                for data in captures[event["towards"]].received()
                if (packet := decode(data)) and packet.protocol == 6 and packet.flags & RST
            ]
            assert resets == [bytes.fromhex(event["packet"])]


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_forged_packets_belong_to_no_connection_of_the_kernels(plain_peers: Peers, ipv6: bool) -> None:
    """Else a RST that an end does not believe would end the connection for conntrack, and with it what was decided."""
    plain_peers.box.run(["nft", "add table inet owner"])
    plain_peers.box.run(["nft", "add chain inet owner seen { type filter hook forward priority 0; }"])
    with running_box(plain_peers, "tmobile-uk-2012"):
        for state in ("untracked", "!= untracked"):
            plain_peers.box.run(["nft", f"add rule inet owner seen iif tlab-out ct state {state} counter"])
        client, server = plain_peers.connection(587, ipv6=ipv6)
        with client, server:
            submission_until_starttls(client, server)
            assert dies_of_reset(client)
            assert dies_of_reset(server)
        listed = plain_peers.box.run(["nft", "list", "chain", "inet", "owner", "seen"])
    assert [int(count) for count in re.findall(r"packets (\d+)", listed)] == [2, 0]


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
@pytest.mark.parametrize("ttl", [1, 2, 64, 254, 255])
def test_injected_packet_arrives_as_it_was_written(plain_peers: Peers, ttl: int, ipv6: bool) -> None:
    """IP ID 0, TOS, no DF, odd options, a wrong checksum: nothing is touched, whatever the TTL."""
    src, dst = (CLIENT6, SERVER6) if ipv6 else (CLIENT4, SERVER4)
    family = socket.AF_INET6 if ipv6 else socket.AF_INET
    forged = tcp_segment(
        src=socket.inet_pton(family, src), dst=socket.inet_pton(family, dst), sport=1234, dport=4321, seq=1,
        ack=2, flags=RST | 0x100, window=3, ttl=ttl, ip_id=0, dont_fragment=False, tos=0x48,
        options=b"\x01\x01\xfe\x06abcd", payload=b"payload",
    )  # fmt: skip
    forged = forged[:-9] + b"\xff\xff" + forged[-7:]  # somewhere in the options: the checksum is wrong now
    with running_box(plain_peers, everything_on_7000(plain_peers), stand_in=True):
        capture = plain_peers.server.capture()
        client, server = plain_peers.connection(7000, ipv6=ipv6)
        with client, server:
            client.sendall(b"forge=" + forged.hex().encode())
            until(lambda: forged in capture.received(), "the forged packet at the server")
            assert [data for data in capture.received() if b"payload" in data] == [forged]


def test_injected_ttl_is_what_leaves_the_box(plain_peers: Peers) -> None:
    """Every TTL from 1 to 255 arrives one hop behind the box unchanged; its header checksum is right."""
    packets = [forged_reset(ttl=ttl) for ttl in range(1, 256)]
    with running_box(plain_peers, everything_on_7000(plain_peers), stand_in=True):
        capture = plain_peers.server.capture()
        client, server = plain_peers.connection(7000)
        with client, server:
            for start in range(0, 255, 15):
                words = " ".join("forge=" + packet.hex() for packet in packets[start : start + 15])
                client.sendall(words.encode())
                server.recv(0x10000)
            until(lambda: packets[-1] in capture.received(), "the last packet")
    arrived = [data for data in capture.received() if len(data) == 40 and data[20:24] == b"\0\1\0\2"]
    assert arrived == packets
    assert all(with_ttl(data, data[8]) == data for data in arrived)


def test_delayed_packets_leave_in_the_order_of_their_times(plain_peers: Peers) -> None:
    """Forged packets of the future wait; two of the same moment keep their order; none is early."""
    delays = {3: 30_000_000, 1: 10_000_000, 2: 20_000_000, 0: 0}
    base = {number: forged_reset(seq=number) for number in (*delays, 4)}
    words = [f"later={delay}:{base[number].hex()}" for number, delay in delays.items()]
    words.append(f"later=30000000:{base[4].hex()}")
    with running_box(plain_peers, everything_on_7000(plain_peers), stand_in=True):
        capture = plain_peers.server.capture()
        client, server = plain_peers.connection(7000)
        with client, server:
            client.sendall(" ".join(words).encode())
            until(lambda: base[4] in capture.received(), "the last packet")
    numbers = [data[27] for data in capture.received() if len(data) == 40 and data[20:24] == b"\0\1\0\2"]
    assert numbers == [0, 1, 2, 3, 4]
