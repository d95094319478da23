"""VPNs recognised by their first message on any port, by tariff and by quota (catalogue sections 8 and 10)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scenarios.captures import Captured, read_capture
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Run
from tests.e2e.fields.test_rules_agree_with_tshark import as_file, shown_here
from tests.e2e.fields.two_ends import tshark as frames_shown
from tests.e2e.test_scenarios import skip_without_servers
from tests.property.test_dissect_rules import frames_that_set_off
from tests.property.test_filters_oracle import tshark
from tests.unit.dissect_kit import ip_packets_of

SLUG, DIALUP = "tmobile-uk-2012-vpn", "tmobile-uk-2012-vpn-dialup"
VPNS = {
    "openvpn-udp": ("openvpn.opcode == 7 and udp.dstport == 5000", 14),
    "openvpn-tcp": ("openvpn.opcode == 7 and tcp.dstport == 443", 16),
    "wireguard": ("wg.type == 1 and udp.dstport == 15820", 148),
    "ike": ("isakmp.exchangetype == 34 and udp.dstport == 500", None),
    "ike-elsewhere": ("isakmp.exchangetype == 34 and udp.dstport == 15000", 136),
    "ike-behind-nat": ("isakmp.exchangetype == 35 and udp.dstport == 4500", 68),
    "esp-in-udp": ("esp.spi == 0xc0ffee01 and udp.dstport == 4500", 40),
    "l2tp": ("l2tp.type == 1 and udp.dstport == 17010", 99),
    "pptp": ("pptp.control_message_type == 1 and tcp.dstport == 7000", 156),
}
"""Step -> (what Wireshark sees in the client's capture, bytes of the first message; None: they depend on the
version, and IKE's header says how many)."""
IKE_SA_INIT = b"\x21\x20\x22\x08"
BY_THE_BOOK = {
    "wireguard": (0, b"\x01\x00\x00\x00"),
    "ike": (16, IKE_SA_INIT),
    "ike-elsewhere": (16, IKE_SA_INIT),
    "ike-behind-nat": (0, b"\x00\x00\x00\x00"),
}
"""Step -> (offset, the bytes there): catalogue section 10; RFC 7296 3.1, an SA first, version 2.0, exchange 34, from
the initiator; RFC 3948 2.2, the non-ESP marker."""
GRE, ESP = 47, 50
WITHOUT_PORTS = {
    GRE: "gre.proto == 0x880b and not icmp and not icmpv6",
    ESP: "esp.spi == 0xc0ffee01 and not udp and not icmp and not icmpv6",
}
"""IP protocol -> what Wireshark sees, but for the errors that quote it."""
QUOTA_BYTES, UNSURE_BYTES = 40_000, 4_000
"""Of `fair-use`. Unsure: packets that pass the two captures and the box in another order."""
VPNS_OF_QUOTA = ("quota", "wireguard", "ike", "l2tp", "pptp")
"""Steps `-left` and `-used` of `fair-use`; `quota` is OpenVPN."""
DIALUP_VPNS = {
    "l2tp": "l2tp.avp.message_type == 1 and udp.dstport == 17010",
    "pptp": "pptp.control_message_type == 1 and tcp.dstport == 1723",
}
"""The same for the scenario with the programs that know IPv4 only."""
PORTS = (
    "udp.port==5000,openvpn", "tcp.port==443,openvpn", "udp.port==15000,isakmp", "udp.port==17010,l2tp",
    "tcp.port==7000,pptp",
)  # fmt: skip
TSHARK = ("-o", "tcp.reassemble_out_of_order:TRUE", *(word for port in PORTS for word in ("-d", port)))
"""What Wireshark must be told: where it is which protocol, and to put segments in order, as the box does."""
TALKS = (
    (SLUG, "openvpn", 20),
    (SLUG, "openvpn.opcode == 7", 4),
    (SLUG, "openvpn.opcode == 8", 4),
    (SLUG, "wg.type == 1", 2),
    (SLUG, "wg.type == 2", 2),
    (SLUG, "wg.type == 4", 4),
    (SLUG, "isakmp.exchangetype == 34", 4),
    (SLUG, "isakmp.exchangetype == 35", 4),
    (DIALUP, "l2tp.avp.message_type in {1, 2, 3}", 3),
    (DIALUP, "l2tp.type == 1", 5),
    (DIALUP, "pptp.control_message_type in {1, 2, 7, 8}", 4),
    (DIALUP, "gre.flags_and_version == 0x3001 or gre.flags_and_version == 0x3081", 3),
    (DIALUP, "gre.proto == 0x880b and gre.key.payload_length > 0", 3),
)
"""(Scenario, filter, so many packets at least) in the talk of programs that nobody disturbs, over all IP versions."""


def said(run: Run, host: str, step: str, family: int) -> list[bytes]:
    """What a host's capture has of a step's client, with payload."""
    connection = run.connection(step, family)
    return [p.payload for p in run.at_host(host, connection) if p.src == connection.ends.client and p.payload]


def ip_at(run: Run, host: str, protocol: int) -> list[Captured]:
    """The packets of an IP protocol in a host's capture."""
    captures = read_capture(run.directory / "captures" / f"{host}.pcapng")
    return [captured for captured in captures if captured.packet.protocol == protocol]


def contents(captures: list[Captured]) -> list[tuple[int, bytes, bytes]]:
    """(IP version, source, what the IP header carries) of each packet."""
    headers = {4: 20, 6: 40}
    packets = [captured.packet for captured in captures]
    return sorted((p.version, p.src, p.data[headers[p.version] :]) for p in packets)


@pytest.fixture
def vpn_run(finished_run: FinishedRun) -> Callable[[str], Run]:
    """A scenario's run, where its programs are installed."""

    def finished(slug: str) -> Run:
        skip_without_servers(slug, postfix=False)
        return finished_run(slug)

    return finished


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", VPNS)
def test_first_message_leaves_and_never_arrives(
    vpn_run: Callable[[str], Run], step: str, family: int
) -> None:
    """In the blocked tariff the client's capture has the message and the server's has not; in the other both have."""
    run = vpn_run(SLUG)
    server = run.connection(step, family).ends.server_host
    sent = said(run, "sim1", step, family)
    [size] = {len(message) for message in sent}
    assert size == (VPNS[step][1] or int.from_bytes(sent[0][24:28], "big"))
    offset, by_the_book = BY_THE_BOOK.get(step, (0, b""))
    assert sent[0][offset : offset + len(by_the_book)] == by_the_book
    assert said(run, server, step, family) == []
    allowed = said(run, "sim2", f"{step}-allowed", family)
    assert said(run, server, f"{step}-allowed", family) == allowed
    assert len(allowed[0]) == size


@pytest.mark.parametrize("host", ["sim1", "sim2"])
def test_messages_are_what_wireshark_takes_them_for(vpn_run: Callable[[str], Run], host: str) -> None:
    """Each, on its unusual port, is dissected as its protocol: so the box did not take noise for a VPN."""
    capture = vpn_run(SLUG).directory / "captures" / f"{host}.pcapng"
    for step, (display_filter, _) in VPNS.items():
        assert len(frames_shown(capture, display_filter, *TSHARK)) >= len(FAMILIES), step
    for protocol, display_filter in WITHOUT_PORTS.items():
        assert len(frames_shown(capture, display_filter, *TSHARK)) == len(FAMILIES), protocol


@pytest.mark.parametrize("protocol", WITHOUT_PORTS)
def test_protocol_without_ports_arrives_of_who_may_use_it_alone(
    vpn_run: Callable[[str], Run], protocol: int
) -> None:
    """IP protocols 47 and 50 leave both subscribers over both IP versions; what arrives is all of the one's."""
    run = vpn_run(SLUG)
    for host in ("sim1", "sim2"):
        assert sorted(captured.packet.version for captured in ip_at(run, host, protocol)) == list(FAMILIES)
    assert contents(ip_at(run, "peer", protocol)) == contents(ip_at(run, "sim2", protocol))


@pytest.mark.parametrize("family", FAMILIES)
def test_box_says_nothing_and_leaves_the_web_alone(vpn_run: Callable[[str], Run], family: int) -> None:
    """No packet is forged towards anybody."""
    run = vpn_run(SLUG)
    for step in (*VPNS, "web"):
        connection = run.connection(step, family)
        assert connection.forged("client") == connection.forged("server") == []
    assert run.outcome("web", family) == "fetched"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["openvpn-udp", "openvpn-tcp", "wireguard", "ike"])
def test_real_vpn_comes_up_for_who_may_use_it(vpn_run: Callable[[str], Run], step: str, family: int) -> None:
    """The same program, the same server: one comes up, the other hears nothing of what it is there for."""
    run = vpn_run(SLUG)
    assert run.outcome(f"{step}-allowed", family) == "connected"
    assert run.outcome(step, family) == "timeout"
    connection = run.connection(step, family)
    heard = [p for p in run.at_host("sim1", connection) if p.src == connection.ends.server and p.payload]
    assert heard == []


@pytest.mark.parametrize("step", DIALUP_VPNS)
def test_dialup_vpn_is_blocked_by_its_first_message(vpn_run: Callable[[str], Run], step: str) -> None:
    """The same for L2TP and PPTP, whose programs are real as well, and whose first messages Wireshark knows."""
    run = vpn_run(DIALUP)
    assert (run.outcome(step, 4), run.outcome(f"{step}-allowed", 4)) == ("timeout", "connected")
    sent = said(run, "sim1", step, 4)
    assert len({len(message) for message in sent}) == 1
    assert said(run, "vpn", step, 4) == []
    for host in ("sim1", "sim2"):
        capture = run.directory / "captures" / f"{host}.pcapng"
        assert frames_shown(capture, DIALUP_VPNS[step], *TSHARK)


def test_gre_of_a_real_pptp_goes_both_ways(vpn_run: Callable[[str], Run]) -> None:
    """Of the subscriber who may, the tunnel's packets are in both ends' captures; the other never comes so far."""
    run = vpn_run(DIALUP)
    ends = run.connection("pptp-allowed", 4).ends
    packets = ip_at(run, "sim2", GRE)
    assert {captured.packet.src for captured in packets} == {ends.client, ends.server}
    assert len(packets) == len(ip_at(run, "vpn", GRE))
    assert ip_at(run, "sim1", GRE) == []


@pytest.mark.tshark_4_0
@pytest.mark.parametrize(("slug", "text", "at_least"), TALKS)
def test_talk_of_real_programs_is_read_as_tshark_reads_it(
    vpn_run: Callable[[str], Run], slug: str, text: str, at_least: int, tmp_path: Path
) -> None:
    """From first to last message of the subscriber whom the box leaves alone, our dissectors and tshark's agree."""
    captured = read_capture(vpn_run(slug).directory / "captures" / "sim2.pcapng")
    capture = as_file(captured, tmp_path / "talk.pcap")
    packets = ip_packets_of(capture)
    [theirs] = tshark([text], packets, tmp_path, TSHARK)
    ours = frames_that_set_off(text, capture)
    assert ours == shown_here(f"{text} udp", theirs, packets)
    assert len(ours) >= at_least


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("vpn", VPNS_OF_QUOTA)
def test_quota_decides(finished_run: FinishedRun, vpn: str, family: int) -> None:
    """With some of it left the first message arrives; after more bytes than it allows, counted here, it does not."""
    run = finished_run("fair-use")
    assert said(run, "peer", f"{vpn}-left", family) == said(run, "sim1", f"{vpn}-left", family) != []
    assert said(run, "sim2", f"{vpn}-used", family) != []
    assert said(run, "peer", f"{vpn}-used", family) == []
    used = sum(len(p.data) for p in run.at_host("sim2", run.connection("much", family)))
    assert used > QUOTA_BYTES


@pytest.mark.parametrize("protocol", WITHOUT_PORTS)
def test_quota_decides_about_protocols_without_ports(finished_run: FinishedRun, protocol: int) -> None:
    """GRE and ESP arrive of the subscriber with some quota left, and of the other they only leave."""
    run = finished_run("fair-use")
    for host in ("sim1", "sim2"):
        assert sorted(captured.packet.version for captured in ip_at(run, host, protocol)) == list(FAMILIES)
    assert contents(ip_at(run, "peer", protocol)) == contents(ip_at(run, "sim1", protocol))


@pytest.mark.parametrize("vpn", ["wireguard", "ike"])
def test_same_subscriber_is_blocked_once_he_has_used_his_quota(finished_run: FinishedRun, vpn: str) -> None:
    """By the bytes of his packets that came to the box before a first message, over both IP versions together."""
    run = finished_run("fair-use")
    of_his = {run.connection("much", family).ends.client for family in FAMILIES}
    inside = read_capture(run.directory / "captures" / "box-inside.pcapng")
    sizes = [(c.time_ns, len(c.packet.data)) for c in inside if {c.packet.src, c.packet.dst} & of_his]
    arrived = {"before": 0, "used": 0}
    for when, family in [(when, family) for when in arrived for family in FAMILIES]:
        connection = run.connection(f"{vpn}-{when}", family)
        [message] = connection.seen_genuine("client")
        used = sum(size for time_ns, size in sizes if time_ns < message.time_ns)
        here = len(said(run, "peer", f"{vpn}-{when}", family))
        if abs(used - QUOTA_BYTES) > UNSURE_BYTES:
            assert here == (used < QUOTA_BYTES), (when, family, used)
        arrived[when] += here
    assert arrived["before"] > 0 == arrived["used"]
