"""Captures read back: what scapy writes, we read; what is no capture is an error that says so."""

from __future__ import annotations

from pathlib import Path
from struct import pack

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.utils import PcapNgWriter, wrpcap

from middlebox.packet import decode
from scenarios.captures import CaptureError, fingerprint, is_between_hosts, read_capture
from tests.unit.staged import starttls_block, write_pcap


def tcp(ttl: int = 64, payload: bytes = b"hello") -> IP:
    return IP(src="192.0.2.11", dst="203.0.113.25", ttl=ttl, id=7) / TCP(sport=1, dport=2, seq=3) / payload


def test_captures_pcapng_of_scapy_gives_packets_times_and_comments(tmp_path: Path) -> None:
    """Packets, nanosecond-free times and comments of a pcapng file come back as they were written."""
    path = tmp_path / "a.pcapng"
    with PcapNgWriter(str(path)) as writer:
        for number in range(3):
            packet = Ether() / tcp(payload=b"x" * number)
            packet.time = 1_700_000_000.25 + number
            packet.comment = b"FORGED" if number == 1 else None
            writer.write(packet)
    read = read_capture(path)
    assert [captured.number for captured in read] == [1, 2, 3]
    assert [captured.packet.payload for captured in read] == [b"", b"x", b"xx"]
    assert [captured.time_ns for captured in read] == [
        1_700_000_000_250_000_000 + n * 10**9 for n in range(3)
    ]
    assert [captured.comments for captured in read] == [(), ("FORGED",), ()]


def test_captures_classic_pcap_of_scapy_gives_packets(tmp_path: Path) -> None:
    """A pcap file works as well as a pcapng file."""
    path = tmp_path / "a.pcap"
    wrpcap(
        str(path),
        [Ether() / tcp(), Ether() / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=5, dport=6)],
    )
    read = read_capture(path)
    assert [captured.packet.version for captured in read] == [4, 6]
    assert (read[1].packet.sport, read[1].packet.dport) == (5, 6)


def test_captures_frame_numbers_count_what_is_no_ip_packet(tmp_path: Path) -> None:
    """Frame numbers are Wireshark's: ARP is counted, though it does not come back; a VLAN tag is looked through."""
    path = tmp_path / "a.pcap"
    wrpcap(str(path), [Ether() / ARP(), Ether() / Dot1Q(vlan=3) / tcp(), Ether() / tcp()])
    assert [captured.number for captured in read_capture(path)] == [2, 3]


def test_captures_big_endian_section_is_read(tmp_path: Path) -> None:
    """A pcapng file of a big-endian machine, raw IP link type, microseconds."""
    data = bytes(tcp())
    body = pack(">IIIII", 0, 0, 5_000_000, len(data), len(data)) + data + b"\0" * (-len(data) % 4)
    blocks = pack(">IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    blocks += pack(">IIHHII", 1, 20, 101, 0, 0, 20)
    blocks += pack(">II", 6, len(body) + 12) + body + pack(">I", len(body) + 12)
    path = tmp_path / "big.pcapng"
    path.write_bytes(blocks)
    (captured,) = read_capture(path)
    assert (captured.time_ns, captured.packet.data) == (5_000_000_000, data)


def test_captures_cut_off_in_the_middle_gives_what_is_whole(tmp_path: Path) -> None:
    """A file that a killed capture left behind gives the packets before the break, wherever it breaks."""
    path = tmp_path / "a.pcapng"
    with PcapNgWriter(str(path)) as writer:
        for _ in range(3):
            writer.write(Ether() / tcp())
    whole = path.read_bytes()
    for size in range(64, len(whole)):
        path.write_bytes(whole[:size])
        assert len(read_capture(path)) <= 3
    path.write_bytes(whole[:-1])
    assert len(read_capture(path)) == 2


def test_captures_file_that_is_none_is_an_error_with_the_next_step(tmp_path: Path) -> None:
    """A text file is not silently an empty capture."""
    path = tmp_path / "note.txt"
    path.write_text("not a capture at all")
    with pytest.raises(
        CaptureError, match=r"note\.txt: expected a pcapng or pcap file, got b'not '; convert it"
    ):
        read_capture(path)
    with pytest.raises(CaptureError, match="expected a capture file, got No such file"):
        read_capture(tmp_path / "none.pcapng")


def test_captures_fingerprint_survives_routers_and_nothing_else() -> None:
    """One packet with another TTL is the same packet; with one other bit it is another."""
    one, later = decode(bytes(tcp(ttl=64))), decode(bytes(tcp(ttl=60)))
    other = decode(bytes(tcp(payload=b"hellp")))
    assert one is not None
    assert later is not None
    assert other is not None
    assert fingerprint(one) == fingerprint(later) != fingerprint(other)


def test_captures_fingerprint_ignores_ethernet_padding() -> None:
    """A short frame is padded on one link and not on another."""
    bare, padded = decode(bytes(tcp(payload=b""))), decode(bytes(tcp(payload=b"")) + b"\0" * 6)
    assert bare is not None
    assert padded is not None
    assert fingerprint(bare) == fingerprint(padded)


def test_captures_staged_file_comes_back_whole(tmp_path: Path) -> None:
    """The tests' own writer and the reader agree, so other tests may use either."""
    packets = starttls_block().captures["sim1"]
    read = read_capture(write_pcap(tmp_path / "sim1.pcap", packets))
    assert [(c.number, c.time_ns, c.packet.data) for c in read] == [
        (c.number, c.time_ns, c.packet.data) for c in packets
    ]
    assert all(is_between_hosts(captured.packet) for captured in read)
