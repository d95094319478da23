"""Rules on dissected fields through the whole engine: they are set off by the packets that tshark shows for them.

The captures are those of tests/data/dissect. A packet that the engine let the kernel pass is not shown to it, as in the
box, so a flow that was given up too early is a match that is missing.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from middlebox.decision import Offload
from middlebox.engine import Engine
from middlebox.filters import compile_filter
from middlebox.flow import Direction, Side
from middlebox.profile import Deployment, Log, Phase, Placement, Profile, Rule, TcpReading
from tests.property.test_filters_oracle import tshark
from tests.unit.dissect_kit import TSHARK_OPTIONS, ip_packets_of, packets_of

RULES = {
    "http.pcap": [
        'http.host == "web.example"', 'http.request.uri contains "none"', "http.response.code == 404", "http.location",
        'http.request.method == "POST" and http.content_type contains "multipart"', "http.response.code in {200, 302}",
        'http.user_agent matches "^curl"', 'http.request.full_uri contains "other.example"', "http.request.line",
        'http.authorization contains "Basic"', 'tcp.dstport == 8080 and http.request.method == "HEAD"',
    ],
    "dns.pcap": [
        'dns.qry.name == "web.example" and dns.flags.response == 0', "dns.a == 203.0.113.80", "dns.resp.ttl",
        "dns.aaaa == 2001:db8:3::/48", "dns.flags.rcode == 3", "udp.dstport == 53 and dns.qry.type == 28", "dns",
        'tcp and dns.qry.name contains "mail"', 'dns.qry.name matches "^www"', "dns.count.answers > 1",
        "dns.length > 40",
        'lower(dns.qry.name) == "web.example"', 'dns.cname == "web.example"',
    ],
    "quic.pcap": [
        "quic", 'quic and tls.handshake.extensions_server_name == "web.example"', "quic.version == 0x6b3343cf",
        "quic.long.packet_type == 3", "udp.srcport > udp.dstport and tls.handshake.type == 1", "quic.header_form == 0",
        "quic and tls.handshake.type == 2", 'quic and tls.handshake.extensions_server_name contains "long"',
        "quic.token_length > 0", "quic.frame_type == 6 and quic.crypto.offset > 0",
    ],
    "ssh.pcap": ['ssh.protocol contains "OpenSSH"', 'ssh.protocol matches " lab$"', "ssh"],
    "tls.pcap": ["tls.handshake.type == 1", 'tls.handshake.extensions_server_name contains "example"'],
    "openvpn.pcap": [
        "openvpn", "openvpn.opcode == 7", "openvpn.opcode in {1, 7, 10}", "openvpn.opcode == 8 and openvpn.keyid == 0",
        "tcp and openvpn.plen > 100", "openvpn.peerid == 0",
    ],
    "wireguard.pcap": ["wg", "wg.type == 1", "wg.type == 4 and wg.counter == 1"],
    "ike-l2tp.pcap": [
        "isakmp.exchangetype == 34", "isakmp.version == 0x10", "l2tp.avp.message_type == 1", "l2tp.type == 1 or isakmp",
        "udp.port == 500 and isakmp.length > 100", "isakmp.rspi == 00:00:00:00:00:00:00:00",
    ],
    "dialogue-vpn-datagrams.pcap": [
        "gre.proto == 0x880b", "gre.key.call_id == 7", "esp", "esp.spi == 0xc1c2c3c4", "udp and esp", "isakmp",
        "wg.type == 3",
    ],
    "dialogue-pptp.pcap": ["pptp.control_message_type == 1", "pptp.magic_cookie == 0x1a2b3c4d", "pptp"],
    "dialogue-bittorrent.pcap": [
        "bittorrent", "bittorrent.info_hash[0:2] == 00:01", "bittorrent.peer_id[1:2] == 54:52",
    ],
    "dialogue-socks4a.pcap": ["socks.command == 1", "socks.version == 4", "socks.results == 91"],
    "dialogue-socks5-ipv6.pcap": ["socks.dstV6 == 2001:db8:3::80", "socks.auth_method == 0", "socks.results != 0"],
    "smtp.pcap": ['smtp.command_line matches "^STARTTLS"', "smtp.response.code == 220", "tls.handshake.type == 1"],
}  # fmt: skip

pytestmark = pytest.mark.tshark_4_0


def frames_that_set_off(text: str, capture: str) -> list[int]:
    """The frames (from 0) of a capture at which a box with this one rule reports a match."""
    rule = Rule("rule", compile_filter(text), (Log(),))
    profile = Profile("test", "", Placement.ON_PATH, (rule,), TcpReading())
    engine = Engine(Deployment("test", (Phase(0, profile),)), Random(7), 0)
    passed: dict[int, Offload] = {}
    matched = []
    for number, (data, packet) in enumerate(zip(ip_packets_of(capture), packets_of(capture), strict=True)):
        mine = 1 << packet.direction
        if passed.get(packet.flow, Offload.NONE) & mine:
            continue
        ingress = Side.INSIDE if packet.direction is Direction.CLIENT_TO_SERVER else Side.OUTSIDE
        decision = engine.handle(data, number * 1_000_000, ingress, packet.direction)
        passed[packet.flow] = passed.get(packet.flow, Offload.NONE) | decision.offload
        if any(event.kind == "rule_matched" for event in decision.events):
            matched.append(number)
    return matched


@pytest.mark.parametrize("capture", RULES)
def test_rule_is_set_off_by_the_packets_that_tshark_shows(capture: str, tmp_path: Path) -> None:
    """Dissection, filter, and what may be let go of in between, against tshark with the same filter."""
    theirs = tshark(RULES[capture], ip_packets_of(capture), tmp_path, TSHARK_OPTIONS)
    ours = {text: frames_that_set_off(text, capture) for text in RULES[capture]}
    assert ours == dict(zip(RULES[capture], theirs, strict=True))
    assert all(ours.values()), "a rule that no packet sets off proves nothing"
