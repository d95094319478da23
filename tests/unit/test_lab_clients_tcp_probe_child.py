"""The probe's own packets and cuts, against scapy and by hand."""

from __future__ import annotations

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.tls.all import TLS

from lab.clients import tcp_probe_child as child


def test_probe_raw_ipv4_packet_is_what_scapy_reads() -> None:
    """Every field is where RFC 791 and 9293 put it, and the checksum is right."""
    packet = {"options": "01010101", "ttl": 3}
    segment = child.tcp_segment(packet, (40000, 80), 7, 9, child.FLAGS["P"] | child.FLAGS["A"], b"hello")
    data = child.ip_packet("192.0.2.11", "203.0.113.80", segment, packet, 4001)
    ip = IP(data)
    tcp = ip[TCP]
    assert (ip.src, ip.dst, ip.ttl, ip.id) == ("192.0.2.11", "203.0.113.80", 3, 4001)
    assert (tcp.sport, tcp.dport, tcp.seq, tcp.ack, str(tcp.flags)) == (40000, 80, 7, 9, "PA")
    assert (tcp.dataofs, bytes(tcp.payload)) == (6, b"hello")
    checksum = tcp.chksum
    del tcp.chksum
    assert IP(bytes(ip))[TCP].chksum == checksum


def test_probe_bad_checksum_is_wrong_and_ipv6_is_ipv6() -> None:
    """A checksum asked to be bad differs from the right one."""
    segment = child.tcp_segment({}, (1, 2), 3, 4, child.FLAGS["S"], b"")
    good = IPv6(child.ip_packet("2001:db8::1", "2001:db8::2", segment, {}, 0))
    bad = IPv6(child.ip_packet("2001:db8::1", "2001:db8::2", segment, {"checksum": "bad"}, 0))
    assert (good[TCP].ack, good.hlim) == (0, 64)
    assert bad[TCP].chksum == good[TCP].chksum ^ 0x5555


def test_probe_cuts_segments_and_records_and_loses_nothing() -> None:
    """Sizes are those asked for, the rest comes last; each record has a header of its own."""
    assert child.cut(b"abcdefgh", [3, 2]) == [b"abc", b"de", b"fgh"]
    assert child.cut(b"ab", [5]) == [b"ab"]
    hello = b"\x16\x03\x01\x00\x04wxyz"
    assert child.in_records(hello, [1]) == b"\x16\x03\x01\x00\x01w\x16\x03\x01\x00\x03xyz"
    assert child.in_records(hello, []) == hello


def settings_for(**more: object) -> child.Settings:
    return {
        "ca_file": None, "tls_version": "1.3", "host": "other.example", "esni": False, "records": [], "random": 0,
    } | more  # fmt: skip


def test_probe_hello_with_esni_has_the_extension_and_no_name() -> None:
    """scapy finds 0xffce among the extensions, the lengths right, and no server name."""
    hello = TLS(child.client_hello(settings_for(esni=True)))
    assert hello.len == len(bytes(hello)) - 5
    types = [extension.type for extension in hello.msg[0].ext]
    assert 0xFFCE in types
    assert 0 not in types
    plain = TLS(child.client_hello(settings_for()))
    assert 0 in [extension.type for extension in plain.msg[0].ext]


def test_probe_random_bytes_are_the_same_in_every_run_and_others_in_every_connection() -> None:
    """A scenario is to be repeatable."""
    settings = settings_for(random=300)
    assert (
        child.random_bytes(settings, 1) == child.random_bytes(settings, 1) != child.random_bytes(settings, 2)
    )
    assert len(child.content_of("random", settings)) == 300
