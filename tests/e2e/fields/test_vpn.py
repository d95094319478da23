"""VPNs recognised by their first message on any port, by tariff and by quota (catalogue sections 8 and 10)."""

from __future__ import annotations

import pytest

from scenarios.captures import Captured, read_capture
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Run
from tests.e2e.fields.two_ends import tshark

SLUG = "tmobile-uk-2012-vpn"
VPNS = {
    "openvpn-udp": ("openvpn.opcode == 7 and udp.dstport == 5000", 14),
    "openvpn-tcp": ("openvpn.opcode == 7 and tcp.dstport == 443", 16),
    "wireguard": ("wg.type == 1 and udp.dstport == 15820", 148),
    "ike": ("isakmp.exchangetype == 34 and udp.dstport == 500", 296),
    "l2tp": ("l2tp.type == 1 and udp.dstport == 1701", 99),
    "pptp": ("pptp.control_message_type == 1 and tcp.dstport == 7000", 156),
}
"""Step -> (what Wireshark sees in the client's capture, bytes of the first message)."""
WIRESHARK_NEEDS = {
    "openvpn-udp": "udp.port==5000,openvpn",
    "openvpn-tcp": "tcp.port==443,openvpn",
    "pptp": "tcp.port==7000,pptp",
}
GRE = 47


def said(run: Run, host: str, step: str, family: int) -> list[bytes]:
    """What a host's capture has of a step's client, with payload."""
    connection = run.connection(step, family)
    return [p.payload for p in run.at_host(host, connection) if p.src == connection.ends.client and p.payload]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", VPNS)
def test_first_message_leaves_and_never_arrives(finished_run: FinishedRun, step: str, family: int) -> None:
    """In the blocked tariff the client's capture has the message and the server's has not; in the other both have."""
    run = finished_run(SLUG)
    server = run.connection(step, family).ends.server_host
    sent = said(run, "sim1", step, family)
    assert {len(message) for message in sent} == {VPNS[step][1]}
    assert said(run, server, step, family) == []
    allowed = said(run, "sim2", f"{step}-allowed", family)
    assert said(run, server, f"{step}-allowed", family) == allowed
    assert (len(allowed[0]), allowed[0][:1]) == (len(sent[0]), sent[0][:1])


def test_messages_are_what_wireshark_takes_them_for(finished_run: FinishedRun) -> None:
    """Each, on its unusual port, is dissected as its protocol: so the box did not take noise for a VPN."""
    run = finished_run(SLUG)
    capture = run.directory / "captures" / "sim1.pcapng"
    for step, (display_filter, _) in VPNS.items():
        options = ["-d", WIRESHARK_NEEDS[step]] if step in WIRESHARK_NEEDS else []
        assert len(tshark(capture, display_filter, *options)) >= len(FAMILIES), step


def test_gre_of_pptp_is_dropped(finished_run: FinishedRun) -> None:
    """IP protocol 47 leaves the client over both IP versions, and reaches nobody."""
    run = finished_run(SLUG)

    def of(host: str) -> list[Captured]:
        captures = read_capture(run.directory / "captures" / f"{host}.pcapng")
        return [captured for captured in captures if captured.packet.protocol == GRE]

    assert sorted(captured.packet.version for captured in of("sim1")) == list(FAMILIES)
    assert of("peer") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_box_says_nothing_and_leaves_the_web_alone(finished_run: FinishedRun, family: int) -> None:
    """No packet is forged towards anybody."""
    run = finished_run(SLUG)
    for step in (*VPNS, "web"):
        connection = run.connection(step, family)
        assert connection.forged("client") == connection.forged("server") == []
    assert run.outcome("web", family) == "fetched"


@pytest.mark.parametrize("family", FAMILIES)
def test_real_openvpn_comes_up_for_who_may_use_it(finished_run: FinishedRun, family: int) -> None:
    """The same program, the same server: one shakes hands, the other says its first packet again and again."""
    run = finished_run(SLUG)
    assert run.outcome("openvpn-udp-allowed", family) == "connected"
    assert run.outcome("openvpn-udp", family) == "timeout"
    answers = [
        p for p in run.at_host("sim2", run.connection("openvpn-udp-allowed", family)) if p.sport == 5000
    ]
    assert answers[0].payload[0] >> 3 == 8  # the server's hard reset


@pytest.mark.parametrize("family", FAMILIES)
def test_quota_decides(finished_run: FinishedRun, family: int) -> None:
    """With some of it left the first message arrives; after more bytes than it allows, counted here, it does not."""
    run = finished_run("fair-use")
    assert said(run, "peer", "quota-left", family) == said(run, "sim1", "quota-left", family)
    assert said(run, "sim2", "quota-used", family) != []
    assert said(run, "peer", "quota-used", family) == []
    used = sum(len(p.data) for p in run.at_host("sim2", run.connection("much", family)))
    assert used > 40_000
