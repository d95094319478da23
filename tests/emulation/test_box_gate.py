"""The kernel judges the gate's rules: what comes to user space is what a rule could need, and nothing else."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from middlebox.decision import Offload
from middlebox.packet import ACK, PROTOCOL_TCP, PSH, decode, tcp_segment
from tests.emulation.box_process import BoxProcess, everything_on_7000, running_box
from tests.emulation.peers import CLIENT4, CLIENT6, SERVER4, SERVER6, SLOW_MACHINE_S, Peers, until

VERSIONS = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
WORDS = range(11)
"""TCP options come in words of four bytes."""


@pytest.fixture
def peers() -> Iterator[Peers]:
    with Peers() as made:
        yield made


def segment(*, ipv6: bool, port: int, payload: bytes, words: int = 0, flags: int = ACK | PSH) -> bytes:
    """A segment to port 7000 of a connection of its own."""
    src, dst = (CLIENT6, SERVER6) if ipv6 else (CLIENT4, SERVER4)
    return tcp_segment(
        src=ip_address(src).packed, dst=ip_address(dst).packed, sport=port, dport=7000, seq=1000, ack=2000,
        flags=flags, window=500, ttl=64, options=b"\1" * (4 * words), payload=payload,
    )  # fmt: skip


def shown(peers: Peers, profile: Path | str, sent: list[bytes], *, ipv6: bool) -> list[list[str]]:
    """Put packets on the wire as they are, then one word that any rule needs; what came to user space before it.

    The server keeps quiet: it would answer by RST, and those are needed as well.
    """
    for command in ("iptables", "ip6tables"):
        peers.server.run([command, "-A", "INPUT", "-p", "tcp", "-j", "DROP"])
    with running_box(peers, profile, stand_in=True) as box:
        with peers.client.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as raw:
            raw.bind(("eth0", 0))
            (link,) = json.loads(peers.box.run(["ip", "-json", "link", "show", "dev", "inside"]))
            gateway = bytes.fromhex(link["address"].replace(":", ""))
            kind = 0x86DD if ipv6 else 0x0800
            for data in [*sent, segment(ipv6=ipv6, port=9, payload=b"\x16\x03\x01 last")]:
                raw.sendto(data, ("eth0", kind, 0, 0, gateway))
        until(lambda: any("last" in words for words in box.handled()), "the last packet in the box")
        assert box.stop() == 0
        return [words for words in box.handled() if "last" not in words]


def reads_payload(peers: Peers) -> Path:
    profile = peers.folder / "payload.yaml"
    text = everything_on_7000(peers).read_text()
    profile.write_text(text.replace("tcp.port == 7000", "tcp.port == 7000 and tcp.len > 0"))
    return profile


@VERSIONS
def test_segments_without_payload_are_told_from_those_with_one_whatever_their_options(
    peers: Peers, ipv6: bool
) -> None:
    """By the lengths of the headers, as the RFC has them."""
    sent = [
        segment(
            ipv6=ipv6, port=1000 + 100 * words + size, words=words, payload=f"{words}.{size}".encode() * size
        )
        for words in WORDS
        for size in (0, 1)
    ]
    assert shown(peers, reads_payload(peers), sent, ipv6=ipv6) == [[f"{words}.1"] for words in WORDS]


def test_ipv4_options_do_not_hide_a_payload(peers: Peers) -> None:
    """The length of the IP header is read, not assumed."""
    sent = []
    for port, payload in ((1001, b""), (1002, b"shown")):
        plain = segment(ipv6=False, port=port, payload=payload)
        header = bytearray(
            b"\x47" + plain[1:2] + (len(plain) + 8).to_bytes(2, "big") + plain[4:20] + b"\1" * 8
        )
        header[10:12] = b"\0\0"
        header[10:12] = (~ones_sum(bytes(header)) & 0xFFFF).to_bytes(2, "big")
        sent.append(bytes(header) + plain[20:])
    assert shown(peers, reads_payload(peers), sent, ipv6=False) == [["shown"]]


def ones_sum(data: bytes) -> int:
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def test_ipv6_extension_headers_are_queued_whatever_they_hide(peers: Peers) -> None:
    """When in doubt a packet is looked at."""
    bare = segment(ipv6=True, port=1001, payload=b"")
    extended = segment(ipv6=True, port=1002, payload=b"")
    length = (len(extended) - 40 + 8).to_bytes(2, "big")
    extended = (
        extended[:4] + length + b"\x3c" + extended[7:40] + b"\x06\x00\x01\x04" + bytes(4) + extended[40:]
    )
    assert shown(peers, reads_payload(peers), [bare, extended], ipv6=True) == [[]]


@VERSIONS
def test_what_may_begin_a_tls_record_is_shown_whatever_its_options(peers: Peers, ipv6: bool) -> None:
    """A content type of TLS, and the major version 3 if it is there: the dissector would go on reading."""
    starts = [b"\x13\x03", b"\x14\x03", b"\x17", b"\x17\x03 x", b"\x16\x02", b"\x18\x03", b"\x16", b"GET"]
    may_begin = [b"\x14\x03", b"\x17", b"\x17\x03 x", b"\x16"]
    sent = [
        segment(ipv6=ipv6, port=1000 + 100 * words + number, words=words, payload=start)
        for words in WORDS
        for number, start in enumerate(starts)
    ]
    seen = shown(peers, "watch-sni", sent, ipv6=ipv6)
    assert seen == [start.decode("latin-1").split() for start in may_begin] * len(WORDS)


# --- elephants --------------------------------------------------------------------------------------------------------


@pytest.fixture
def box(peers: Peers) -> Iterator[BoxProcess]:
    with running_box(peers, everything_on_7000(peers), stand_in=True) as running:
        yield running


def carry(sender: socket.socket, receiver: socket.socket, size: int = 1_000_000) -> None:
    """So many bytes from one end to the other."""
    sender.setblocking(False)
    sent = got = 0
    while got < size:
        try:
            sent += sender.send(bytes(min(size - sent, 0x10000)))
        except BlockingIOError:
            pass
        if got < sent:
            got += len(receiver.recv(0x10000))
    sender.settimeout(SLOW_MACHINE_S)


def elephants(peers: Peers, *, ipv6: bool = False) -> str:
    """Who takes the shortcut, as nft lists it; "" where there is none."""
    if "elephants" not in peers.box.run(["nft", "list", "sets", "netdev"]):
        return ""
    listed = peers.box.run(
        ["nft", "list", "set", "netdev", "tamperlab", "elephants6" if ipv6 else "elephants4"]
    )
    return listed.partition("elements")[2]


def let_pass(client: socket.socket, server: socket.socket) -> None:
    client.sendall(f"watched offload={Offload.PASS:d}".encode())
    assert server.recv(1000)


def forwarded(peers: Peers) -> int:
    """How many packets this namespace has forwarded in the ordinary way, as a rule of its owner counts them."""
    listed = peers.box.run(["nft", "list", "chain", "inet", "owner", "count"])
    return int(listed.partition("packets ")[2].split()[0])


@VERSIONS
def test_elephant_takes_the_shortcut_and_nothing_of_it_is_lost(
    peers: Peers, box: BoxProcess, ipv6: bool
) -> None:
    """A connection that may pass and carries much goes past the rest of the kernel, one hop older as if it had not."""
    peers.box.run(
        ["nft", "add table inet owner; add chain inet owner count { type filter hook forward priority 0; }"]
    )
    peers.box.run(["nft", "add rule inet owner count counter"])
    client, server = peers.connection(7000, ipv6=ipv6)
    with client, server:
        let_pass(client, server)
        carry(client, server)
        until(lambda: elephants(peers, ipv6=ipv6), "an elephant")
        before, capture = forwarded(peers), peers.server.capture()
        carry(client, server)
        carry(server, client)
        assert forwarded(peers) == before
        received = [p for data in capture.received() if (p := decode(data)) and p.protocol == PROTOCOL_TCP]
        assert {p.ttl for p in received} == {63}  # links have talk of their own: neighbour discovery
    assert [words for words in box.handled() if words] == [["watched", f"offload={Offload.PASS:d}"]]
    assert box.stop() == 0
    (ended,) = box.events("run_ended")
    assert ended["elephants"] == 1
    assert "netdev" not in peers.box.run(["nft", "list", "tables"])


def test_connection_that_is_watched_is_no_elephant(peers: Peers, box: BoxProcess) -> None:
    """However much it carries."""
    client, server = peers.connection(7000)
    with client, server:
        carry(client, server)
    assert box.stop() == 0
    (ended,) = box.events("run_ended")
    assert ended["elephants"] == 0


@pytest.mark.parametrize("end", ["client", "server"])
def test_new_connection_of_an_elephants_ports_is_watched(peers: Peers, box: BoxProcess, end: str) -> None:
    """Its SYN puts an end to the shortcut, though both ends have forgotten the old one without a word."""
    for peer in (peers.client, peers.server):
        peer.run(["iptables", "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"])
    client, server = peers.connection(7000, client_port=45678)
    with client, server:
        let_pass(client, server)
        carry(*((client, server) if end == "client" else (server, client)))
        until(lambda: elephants(peers), "an elephant")
        for one in (client, server):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client, server = peers.connection(7000, client_port=45678)
    assert elephants(peers) == ""
    with client, server:
        client.sendall(b"watched again")
        assert server.recv(1000) == b"watched again"
    assert box.stop() == 0
    assert ["watched", "again"] in box.handled()


def test_new_generation_closes_the_shortcut(peers: Peers, box: BoxProcess) -> None:
    """When rules change, an elephant is looked at again like anybody else."""
    one, other = peers.connection(7000), peers.connection(7000)
    with one[0], one[1], other[0], other[1]:
        let_pass(*one)
        carry(*one)
        until(lambda: elephants(peers), "an elephant")
        other[0].sendall(b"generation")
        assert other[1].recv(100) == b"generation"
        until(lambda: not elephants(peers), "the end of the shortcut")
        one[0].sendall(b"watched again")
        assert one[1].recv(100) == b"watched again"
    assert box.stop() == 0
    assert ["watched", "again"] in box.handled()


@pytest.mark.parametrize("kind", ["masquerade", "other size"])
def test_translated_connection_and_one_between_links_of_other_sizes_take_no_shortcut(
    peers: Peers, box: BoxProcess, kind: str
) -> None:
    """Past conntrack its address would not be translated; past routing nobody would say that a packet is too big."""
    if kind == "masquerade":
        peers.box.run(
            ["nft", "add table ip nat; add chain ip nat out { type nat hook postrouting priority 100; }"]
        )
        peers.box.run(["nft", "add rule ip nat out oifname outside masquerade"])
    else:
        peers.box.run(["ip", "link", "set", "outside", "mtu", "1400"])
        peers.server.run(["ip", "link", "set", "eth0", "mtu", "1400"])
    client, server = peers.connection(7000)
    with client, server:
        let_pass(client, server)
        carry(client, server)
        client.sendall(b"unwatched")
        assert server.recv(100) == b"unwatched"
    assert box.stop() == 0
    (ended,) = box.events("run_ended")
    assert ended["elephants"] == 0
