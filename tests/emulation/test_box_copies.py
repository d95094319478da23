"""What no rule can need goes on with a copy; it is read when something later makes the box look, and not otherwise."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from middlebox.packet import ACK, PSH, SYN, Packet, decode, tcp_segment
from tests.emulation.box_process import BoxProcess, running_box
from tests.emulation.peers import CLIENT4, SERVER4, SLOW_MACHINE_S, Capture, Peers, until

VERSIONS = pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])

WORDS = """
profile: words
title: A name in HTTP on any port
placement: on-path
source: chosen
tcp: {state: syn, reassembly: full, overlap: first, end_on_rst: true, end_on_fin: false, join_tls_records: false}
rules:
  - name: name
    when: http.host == "blocked.example"
    direction: client-to-server
    do: [{reset: {towards: both, look: {flags: R}}}]
"""
PATIENCE = """
echo 0 > /proc/sys/net/ipv4/tcp_early_retrans  # no tail loss probe after 8 ms
for version in 4 6; do
    ip -$version route show | while read -r route; do ip -$version route replace $route rto_min 5s; done
done
"""
REQUEST = b"GET / HTTP/1.1\r\nHost: %s\r\n\r\n"
ALLOWED, BLOCKED = REQUEST % b"allowed.example", REQUEST % b"blocked.example"


@pytest.fixture(params=[False, True], ids=["root", "ordinary"])
def peers(request: pytest.FixtureRequest) -> Iterator[Peers]:
    """Ends that wait for an answer: packets are counted here, and a busy machine would have some sent again."""
    with Peers(user=request.param) as made:
        for end in (made.client, made.server):
            end.run(["sh", "-c", PATIENCE])
        yield made


def profile(peers: Peers, text: str = WORDS) -> Path:
    path = peers.folder / "words.yaml"
    path.write_text(text)
    return path


def say(sender: socket.socket, receiver: socket.socket, data: bytes) -> None:
    sender.sendall(data)
    got = b""
    while len(got) < len(data):
        got += receiver.recv(10_000)
    assert got == data


def is_reset(client: socket.socket) -> bool:
    """Whether a RST has come, or comes within the time of the socket."""
    try:
        return client.recv(100) == b"never"
    except ConnectionResetError:
        return True


def figures(box: BoxProcess) -> dict[str, int]:
    assert box.stop() == 0, box.errors()
    (ended,) = box.events("run_ended")
    return dict(ended)


def rule_names(box: BoxProcess) -> list[str]:
    return [event["rule"] for event in box.events("rule_matched")]


@VERSIONS
def test_connection_that_says_no_word_is_never_asked_about(peers: Peers, ipv6: bool) -> None:
    """Neither its SYN nor its request, its answer or its end comes to user space."""
    with running_box(peers, profile(peers)) as box:
        for _ in range(5):
            client, server = peers.connection(7000, ipv6=ipv6)
            with client, server:
                say(client, server, ALLOWED)
                say(server, client, b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nblocked.example")
        assert figures(box)["packets"] == 0


@VERSIONS
def test_word_is_seen_at_once_in_letters_of_either_case(peers: Peers, ipv6: bool) -> None:
    """The box finds the SYN among its copies: it needs one."""
    with running_box(peers, profile(peers)) as box:
        client, server = peers.connection(7000, ipv6=ipv6)
        with client, server:
            client.sendall(REQUEST % b"BLOCKED.Example".lower())
            assert is_reset(client)
        assert figures(box)["valid"] and rule_names(box) == ["name"]


@VERSIONS
@pytest.mark.parametrize("cut", [3, len(BLOCKED) - 12, len(BLOCKED) - 1])
def test_word_in_two_segments_is_put_together(peers: Peers, ipv6: bool, cut: int) -> None:
    """The first of them was only copied."""
    with running_box(peers, profile(peers)) as box:
        client, server = peers.connection(7000, ipv6=ipv6)
        with client, server:
            say(client, server, BLOCKED[:cut])
            client.sendall(BLOCKED[cut:])
            assert is_reset(client)
        (match,) = until(lambda: box.events("rule_matched"), "one match")
        (seen,) = box.events("flow_seen")
        assert seen["flow"] == match["flow"] and seen["time_ns"] <= match["time_ns"]
        assert figures(box)["valid"]


def test_second_request_is_read_where_the_first_one_ended(peers: Peers) -> None:
    """A body that looks like a request is none: the box knows how long it is from the request that was copied."""
    with running_box(peers, profile(peers)) as box:
        client, server = peers.connection(7000)
        with client, server:
            client.settimeout(0.3)
            header = b"POST / HTTP/1.1\r\nHost: allowed.example\r\nContent-Length: %d\r\n\r\n" % len(BLOCKED)
            say(client, server, header)
            say(client, server, BLOCKED)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(SLOW_MACHINE_S)
            client.sendall(BLOCKED)
            assert is_reset(client)
        assert figures(box)["valid"] and rule_names(box) == ["name"]


def test_connection_that_can_no_longer_match_is_let_go(peers: Peers) -> None:
    """Neither HTTP nor TLS: its second segment is asked about, and nothing after it."""
    with running_box(peers, profile(peers)) as box:
        client, server = peers.connection(7000)
        with client, server:
            for number in range(20):
                say(client, server, b"number %d of something else" % number)
                say(server, client, b"heard")
        found = figures(box)
        assert (found["packets"], found["offloaded_flows"]) == (1, 1)


def test_every_one_of_many_is_found_among_the_copies(peers: Peers) -> None:
    """Connections that begin together and say the word in their second segments, whatever else was copied."""
    with running_box(peers, profile(peers)) as box:
        pairs = [peers.connection(7000) for _ in range(60)]
        for client, server in pairs:
            say(client, server, BLOCKED[:20])
        for client, _ in reversed(pairs):
            client.sendall(BLOCKED[20:])
        assert all(is_reset(client) for client, _ in pairs)
        for client, server in pairs:
            client.close()
            server.close()
        until(lambda: len(rule_names(box)) == len(pairs), "a match of each")
        assert figures(box)["valid"]


def test_ports_that_are_used_again_belong_to_the_new_connection(peers: Peers) -> None:
    """What the old one said is not put before what the new one says, though its RST may come behind the new SYN."""
    with running_box(peers, profile(peers, WORDS.replace("end_on_rst: true", "end_on_rst: false"))) as box:
        for first in (b"GET /one HTTP/1.1\r\nHost: ", b"GET /two HTTP/1.1\r\nHost: "):
            client, server = peers.connection(7000, client_port=4321)
            with client, server:
                say(client, server, first)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client, server = peers.connection(7000, client_port=4321)
        with client, server:
            say(client, server, b"GET /")
            client.sendall(b" HTTP/1.1\r\nHost: blocked.example\r\n\r\n")
            assert is_reset(client)
        assert figures(box)["valid"] and rule_names(box) == ["name"]


def test_reload_looks_for_new_words_in_connections_under_way(peers: Peers) -> None:
    """Their copies are kept; what comes next is asked about by the new rules."""
    path = profile(peers)
    with running_box(peers, path) as box:
        client, server = peers.connection(7000)
        with client, server:
            say(client, server, b"GET / HTTP/1.1\r\n")
            path.write_text(WORDS.replace("blocked.example", "another.example"))
            box.process.send_signal(1)
            until(lambda: box.events("profile_changed"), "the other rules")
            client.sendall(b"Host: another.example\r\n\r\n")
            assert is_reset(client)
        for host, reset in ((b"another.example", True), (b"blocked.example", False)):
            client, server = peers.connection(7000)
            with client, server:
                client.settimeout(SLOW_MACHINE_S if reset else 0.3)
                client.sendall(REQUEST % host)
                if reset:
                    assert is_reset(client)
                else:
                    with pytest.raises(TimeoutError):
                        client.recv(1)
        assert figures(box)["valid"]


def test_box_that_fails_closed_copies_nothing(peers: Peers) -> None:
    """A packet that went on without it would go on when it is gone."""
    with running_box(peers, profile(peers), arguments=["--fail", "closed"]) as box:
        client, server = peers.connection(7000)
        with client, server:
            say(client, server, ALLOWED)
        assert figures(box)["packets"] == 2


def test_packets_that_are_no_plain_segments_are_asked_about(peers: Peers) -> None:
    """A SYN that says something, and one with IP options, would be read wrongly or not be found again."""
    from tests.emulation.test_box_gate import segment, shown

    sent = [
        segment(ipv6=False, port=1001, payload=b"", flags=SYN),
        segment(ipv6=False, port=1002, payload=b"said", flags=SYN),
        segment(ipv6=False, port=1003, payload=b"stranger", flags=ACK),
    ]
    assert shown(peers, profile(peers), sent, ipv6=False) == [["said"], ["stranger"]]


def raw(peers: Peers, *packets: bytes) -> None:
    """Put packets on the wire as they are."""
    with peers.client.socket(socket.AF_PACKET, socket.SOCK_DGRAM) as sender:
        sender.bind(("eth0", 0))
        (link,) = json.loads(peers.box.run(["ip", "-json", "link", "show", "dev", "inside"]))
        gateway = bytes.fromhex(link["address"].replace(":", ""))
        for data in packets:
            sender.sendto(data, ("eth0", 0x0800, 0, 0, gateway))


@pytest.mark.parametrize("flags", [ACK, ACK | PSH, 0], ids=["ack", "push", "none"])
def test_request_that_conntrack_does_not_understand_is_read_all_the_same(peers: Peers, flags: int) -> None:
    """Before a SYN+ACK, or without flags: to the kernel it is of no connection, to such a box it is."""
    peers.server.run(["iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP"])
    with running_box(peers, profile(peers)) as box:
        for port, request in ((1001, BLOCKED), (1002, ALLOWED)):
            raw(peers, of_client(port, 1000, SYN), of_client(port, 1001, flags, request))
        raw(peers, of_client(1003, 1000, SYN), of_client(1003, 1001, ACK, BLOCKED))
        until(lambda: len(rule_names(box)) == 2, "two matches")
        assert figures(box)["valid"]
        assert [event["flow"]["client_port"] for event in box.events("rule_matched")] == [1001, 1003]


def test_copies_that_do_not_fit_are_counted_and_make_the_run_invalid(peers: Peers) -> None:
    """The box does not read while more is said than its socket holds: 8 MB, twice over, or what the machine allows."""
    for namespace in (peers.client, peers.server):  # only packets of the test
        namespace.run(["iptables", "-A", "OUTPUT", "-p", "tcp", "--tcp-flags", "RST", "RST", "-j", "DROP"])
    ports, at_once = range(2000, 20_000), 250
    with (
        running_box(peers, profile(peers)) as box,
        peers.server.socket(socket.AF_INET, socket.SOCK_STREAM) as server,
    ):
        server.bind((SERVER4, 7000))
        server.listen(len(ports))
        box.process.send_signal(signal.SIGSTOP)
        for first in ports[::at_once]:
            some = range(first, first + at_once)
            capture = peers.server.capture()
            raw(peers, *(of_client(port, 1000, SYN) for port in some))
            raw(peers, *(of_client(port, 1001, ACK | PSH, b"x" * 1400) for port in some))
            until(lambda capture=capture: len(capture.received()) >= 2 * at_once, "all at the server")
            capture.close()
        box.process.send_signal(signal.SIGCONT)
        raw(peers, of_client(ports[-1], 2401, ACK, b"more"))
        assert box.stop() == 4, box.errors()
        (ended,) = box.events("run_ended")
        assert ended["copies_lost"] > 0 and not ended["valid"]


def received(capture: Capture, flags: int) -> list[Packet]:
    """What came with just these TCP flags."""
    return [p for data in capture.received() if (p := decode(data)) and p.flags == flags]


def test_pushed_segment_without_payload_hides_nothing(peers: Peers) -> None:
    """The kernel takes it for the first that the client says; what comes after it is asked about."""
    with running_box(peers, profile(peers)) as box:
        capture = peers.server.capture()
        client, server = peers.connection(7000)
        with client, server:
            (syn,) = received(capture, SYN)
            raw(peers, of_client(syn.sport, syn.seq + 1 & 0xFFFFFFFF, ACK | PSH))
            until(lambda: received(capture, ACK | PSH), "the segment at the server")
            client.sendall(BLOCKED[:20])
            client.sendall(BLOCKED[20:])
            assert is_reset(client)
        capture.close()
        found = figures(box)
        assert found["valid"] and rule_names(box) == ["name"]
        assert found["packets"] >= 2  # and the server's own RST, if it is closed before the box's reaches it


def test_junk_of_no_connection_is_read_before_what_it_hides(peers: Peers) -> None:
    """A box that keeps the first of what overlaps sees the junk, without flags, and not the request behind it."""
    peers.server.run(["iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP"])
    with running_box(peers, profile(peers)) as box:
        raw(
            peers,
            of_client(1001, 1000, SYN),
            of_client(1001, 1001, 0, b"x" * len(BLOCKED)),
            of_client(1001, 1001, ACK, BLOCKED),
            of_client(1002, 1000, SYN),
            of_client(1002, 1001, ACK, BLOCKED),
        )
        until(lambda: rule_names(box), "a match")
        assert figures(box)["valid"]
        assert [event["flow"]["client_port"] for event in box.events("rule_matched")] == [1002]


def test_port_that_is_used_again_after_a_forged_reset_is_read_from_its_own_beginning(peers: Peers) -> None:
    """To conntrack it is the same connection still, as it knows nothing of forged packets."""
    peers.server.run(["iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP"])
    with running_box(peers, profile(peers)) as box:
        for start in (0x01000000, 0x800000F0, 0x12345678):
            raw(peers, of_client(1001, start, SYN), of_client(1001, start + 1, ACK, BLOCKED))
        until(lambda: len(rule_names(box)) == 3, "three matches")
        assert figures(box)["valid"]


def test_error_message_about_a_connection_takes_nothing_of_it_away(peers: Peers) -> None:
    """It is asked about where a rule is about ICMP too; the connection is still known by its SYN afterwards."""
    both = WORDS + "  - {name: errors, when: icmp.type == 3, direction: client-to-server, do: [log]}\n"
    with running_box(peers, profile(peers, both)) as box:
        client, server = peers.connection(7000)
        with client, server:
            say(client, server, b"GET /")
            quoted = of_client(client.getsockname()[1], 1, ACK)[:28]
            message = b"\x03\x01\0\0" + bytes(4) + quoted
            total = ~sum(int.from_bytes(message[at : at + 2]) for at in range(0, len(message), 2)) % 0xFFFF
            message = message[:2] + total.to_bytes(2) + message[4:]
            with peers.server.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as errors:
                errors.sendto(message, (CLIENT4, 0))
            client.sendall(b" HTTP/1.1\r\nHost: blocked.example\r\n\r\n")
            assert is_reset(client)
        assert figures(box)["valid"] and "name" in rule_names(box)


def test_subscriber_whose_rules_are_about_other_ports_is_let_go(peers: Peers) -> None:
    """His second segment is asked about, and nothing after it, whoever else's words are looked for."""
    (peers.folder / "words.yaml").write_text(WORDS)
    (peers.folder / "mail.yaml").write_text(
        WORDS.replace("http.host ==", "tcp.dstport == 25 and http.host ==")
    )
    deployment = peers.folder / "box.yaml"
    deployment.write_text(
        "deployment: two\ntimeline: [{at: 0s, profile: words.yaml}]\n"
        f"subscribers: [{{name: client, address: {CLIENT4}, profile: mail.yaml}}]\n"
    )
    with running_box(peers, deployment) as box:
        client, server = peers.connection(7000)
        with client, server:
            for number in range(10):
                say(client, server, b"number %d" % number)
        assert figures(box)["packets"] == 1


def of_client(port: int, seq: int, flags: int, payload: bytes = b"") -> bytes:
    return tcp_segment(
        src=ip_address(CLIENT4).packed, dst=ip_address(SERVER4).packed, sport=port, dport=7000, seq=seq, ack=2000,
        flags=flags, window=500, ttl=64, payload=payload,
    )  # fmt: skip
