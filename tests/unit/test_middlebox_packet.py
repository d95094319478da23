"""Headers and checksums, against scapy, which nobody here wrote."""

from __future__ import annotations

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop
from scapy.packet import Packet as ScapyPacket, Raw

from middlebox import packet as wire
from middlebox.packet import decode, flag_letters, parse_flag_letters, tcp_segment, with_ttl

V4 = {"src": bytes([192, 0, 2, 11]), "dst": bytes([203, 0, 113, 25])}
V6 = {
    "src": bytes.fromhex("20010db8000100000000000000000011"),
    "dst": bytes.fromhex("20010db8000300000000000000000025"),
}


def test_decode_tcp4_reads_every_header_field() -> None:
    """What scapy wrote is what is read back."""
    data = bytes(
        IP(src="192.0.2.11", dst="203.0.113.25", id=77, ttl=61, tos=8, flags="DF")
        / TCP(
            sport=40000,
            dport=587,
            seq=5,
            ack=6,
            flags="PA",
            window=501,
            options=[("MSS", 1460), ("NOP", None)],
        )
        / b"STARTTLS\r\n"
    )
    p = decode(data)
    assert p is not None
    assert (p.version, p.protocol, p.ttl, p.tos, p.ip_id) == (4, 6, 61, 8, 77)
    assert (p.sport, p.dport, p.seq, p.ack, p.window) == (40000, 587, 5, 6, 501)
    assert (flag_letters(p.flags), p.dont_fragment, p.payload) == ("PA", True, b"STARTTLS\r\n")
    assert list(wire.tcp_options(p)) == [(2, b"\x05\xb4")]
    assert p.segment_len == 10
    assert wire.checksum_is_right(p)


def test_decode_padding_after_the_packet_is_not_payload() -> None:
    """Ethernet pads short frames; the IP length says where the packet ends."""
    data = bytes(IP() / TCP() / b"x") + b"\0" * 20
    p = decode(data)
    assert p is not None
    assert p.payload == b"x"


@pytest.mark.parametrize(
    "extensions",
    [
        [],
        [IPv6ExtHdrHopByHop()],
        [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt()],
        [IPv6ExtHdrFragment(offset=0, m=1)],
    ],
    ids=["none", "hop-by-hop", "two", "first-fragment"],
)
def test_decode_tcp6_skips_extension_headers(extensions: list[ScapyPacket]) -> None:
    """TCP is found behind any chain of extension headers, first fragments included."""
    layers: ScapyPacket = IPv6(src="2001:db8:1::11", dst="2001:db8:3::25", hlim=9)
    for extension in extensions:
        layers = layers / extension
    p = decode(bytes(layers / TCP(sport=1, dport=465) / b"abc"))
    assert p is not None
    assert (p.version, p.protocol, p.ttl, p.dport, p.payload, p.ip_id) == (6, 6, 9, 465, b"abc", None)


@pytest.mark.parametrize(
    "data",
    [
        bytes(IP(frag=100) / TCP(dport=465)),
        bytes(IPv6() / IPv6ExtHdrFragment(offset=100, nh=6) / Raw(b"\0" * 40)),
    ],
    ids=["ipv4", "ipv6"],
)
def test_decode_later_fragment_has_no_ports(data: bytes) -> None:
    """What stands in a later fragment is not a transport header and is not read as one."""
    p = decode(data)
    assert p is not None
    assert (p.sport, p.dport, p.flags) == (0, 0, 0)


@pytest.mark.parametrize(
    "data", [b"", b"\x45", b"\x60" + b"\0" * 30, bytes(IP() / TCP())[:30], b"\x95" + b"\0" * 60]
)
def test_decode_cut_off_or_foreign_bytes_are_none(data: bytes) -> None:
    """What cannot be decoded is None, not an exception."""
    assert decode(data) is None


def test_decode_udp_payload_starts_after_eight_bytes() -> None:
    """UDP has ports and payload."""
    p = decode(bytes(IP() / UDP(sport=53, dport=5353) / b"query"))
    assert p is not None
    assert (p.sport, p.dport, p.payload) == (53, 5353, b"query")
    assert wire.checksum_is_right(p)


@pytest.mark.parametrize("ends", [V4, V6], ids=["ipv4", "ipv6"])
def test_tcp_segment_is_byte_for_byte_what_scapy_builds(ends: dict[str, bytes]) -> None:
    """Lengths, checksums and options of a built packet are those of scapy for the same fields."""
    built = tcp_segment(
        **ends,
        sport=587,
        dport=40000,
        seq=0xFFFFFFFF,
        ack=7,
        flags=wire.RST | wire.ACK | wire.NS,
        window=1980,
        ttl=108,
        ip_id=39795,
        dont_fragment=True,
        tos=0x10,
        options=b"\x02\x04\x05\xb4",
        payload=bytes(range(1, 10)) + b"\0",
    )
    tcp = TCP(
        sport=587, dport=40000, seq=0xFFFFFFFF, ack=7, flags="RAN", window=1980, options=[("MSS", 1460)]
    ) / bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
    if len(ends["src"]) == 4:
        expected = IP(src="192.0.2.11", dst="203.0.113.25", ttl=108, id=39795, flags="DF", tos=0x10) / tcp
    else:
        expected = IPv6(src="2001:db8:1::11", dst="2001:db8:3::25", hlim=108, tc=0x10) / tcp
    assert built == bytes(expected)


def test_with_ttl_redoes_the_header_checksum() -> None:
    """Another TTL is the only difference, and scapy's checksum for it the right one."""
    assert with_ttl(bytes(IP(ttl=64, id=5) / TCP()), 65) == bytes(IP(ttl=65, id=5) / TCP())
    assert with_ttl(bytes(IPv6(hlim=64) / TCP()), 65) == bytes(IPv6(hlim=65) / TCP())


def test_flag_letters_round_trip_and_reject_others() -> None:
    """Letters name flags both ways; anything else is an error that says what was expected."""
    assert flag_letters(parse_flag_letters("RAN")) == "RAN"
    with pytest.raises(ValueError, match="expected TCP flag letters out of FSRPAUECN, got 'X'"):
        parse_flag_letters("RX")


def test_reversed_packet_swaps_both_ends() -> None:
    """The other direction of a connection: addresses and ports swapped, nothing else claimed."""
    p = decode(
        tcp_segment(**V4, sport=1, dport=2, seq=3, ack=4, flags=wire.ACK, window=5, ttl=6, payload=b"x")
    )
    assert p is not None
    back = p.reversed()
    assert (back.src, back.sport, back.dst, back.dport) == (V4["dst"], 2, V4["src"], 1)
    assert (back.flags, back.payload) == (0, b"")
