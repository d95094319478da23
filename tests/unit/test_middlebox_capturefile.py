"""Capture files: every kind in, ours out, and what is none says so."""

from __future__ import annotations

from pathlib import Path
from struct import pack
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, Dot1Q, Ether
from scapy.utils import PcapNgWriter, rdpcap

from middlebox.capturefile import CaptureError, CaptureWriter, ip_offset, read_frames
from tests.unit.recording import CLIENT, SERVER, START_S, talk, write


@pytest.mark.parametrize("endianness", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_of_every_kind_is_read(tmp_path: Path, endianness: str, nano: bool) -> None:
    """Both byte orders, microseconds and nanoseconds: the same frames at the same times."""
    packets = talk()
    path = write(tmp_path / "in.pcap", packets, endianness=endianness, nano=nano)
    frames = list(read_frames(path))
    assert [frame for _, _, frame in frames] == [bytes(packet) for packet in packets]
    assert [round((time_ns / 1e9 - START_S) * 10) for time_ns, _, _ in frames] == list(range(len(packets)))


def test_pcapng_is_read(tmp_path: Path) -> None:
    """Scapy's own pcapng writer and our reader agree."""
    packets = talk()
    path = tmp_path / "in.pcapng"
    writer = PcapNgWriter(str(path))
    for packet in packets:
        writer.write(packet)
    writer.close()
    assert [frame for _, _, frame in read_frames(path)] == [bytes(packet) for packet in packets]


def test_what_is_written_is_read_by_scapy(tmp_path: Path) -> None:
    """Times to the nanosecond, link types and comments survive the way to another program."""
    packets = talk()
    path = tmp_path / "out.pcapng"
    (_, interface, _), *_ = read_frames(write(tmp_path / "in.pcap", packets))
    with CaptureWriter(path) as writer:
        for number, packet in enumerate(packets):
            writer.write(START_S * 10**9 + number, interface, bytes(packet), comment=f"number {number} ä")
    read = rdpcap(str(path))
    assert [bytes(packet) for packet in read] == [bytes(packet) for packet in packets]
    assert [int(packet.time * 10**9) - START_S * 10**9 for packet in read] == list(range(len(packets)))
    assert [packet.comment.decode() for packet in read] == [f"number {n} ä" for n in range(len(packets))]


def test_pcapng_written_by_us_is_read_by_us(tmp_path: Path) -> None:
    """Reader and writer are each other's inverse."""
    source = write(tmp_path / "in.pcap", talk(), nano=True)
    frames = list(read_frames(source))
    path = tmp_path / "out.pcapng"
    with CaptureWriter(path) as writer:
        for time_ns, interface, frame in frames:
            writer.write(time_ns, interface, frame)
    assert [(t, i.link_type, f) for t, i, f in read_frames(path)] == [
        (t, i.link_type, f) for t, i, f in frames
    ]


def test_big_endian_section_with_its_own_clock_is_read(tmp_path: Path) -> None:
    """Byte order, resolution and offset of time stamps belong to section and interface."""
    options = pack(">HHB3x", 9, 1, 0x80 | 1) + pack(">HHq", 14, 8, 100) + pack(">I", 0)
    interface = pack(">HHI", 101, 0, 0) + options
    frame = bytes(IP(src=CLIENT, dst=SERVER) / UDP())
    packet = pack(">IIIII", 0, 0, 3, len(frame), len(frame)) + frame
    blocks = [(0x0A0D0D0A, pack(">IHHq", 0x1A2B3C4D, 1, 0, -1)), (1, interface), (6, packet)]
    path = tmp_path / "in.pcapng"
    path.write_bytes(
        b"".join(
            pack(">II", kind, len(body) + 12) + body + pack(">I", len(body) + 12) for kind, body in blocks
        )
    )
    ((time_ns, _, read),) = read_frames(path)
    assert (time_ns, read) == (101_500_000_000, frame)  # three halves of a second, and the offset


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 40])
def test_last_frame_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    """A capture that was still being written ends before its last frame."""
    path = write(tmp_path / "in.pcap", talk())
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(list(read_frames(path))) == len(talk()) - 1


def test_frames_across_pieces_are_whole(tmp_path: Path) -> None:
    """A file larger than what is read at a time loses nothing at the seams."""
    big = [Ether() / IP(src=CLIENT, dst=SERVER) / UDP() / (bytes([n % 256]) * 60_000) for n in range(40)]
    path = write(tmp_path / "in.pcap", big)
    assert [frame for _, _, frame in read_frames(path)] == [bytes(packet) for packet in big]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with b''"),
        (b"PK\3\4" + bytes(100), "expected a capture, pcap or pcapng"),
        (b"\xd4\xc3\xb2\xa1" + bytes(16) + pack("<I", 147), "got 147"),
        (b"\xd4\xc3\xb2\xa1" + bytes(16) + pack("<I", 1) + b"\xff" * 16, "is the file damaged?"),
        (b"\x0a\x0d\x0d\x0a" + pack("<II", 7, 0x1A2B3C4D) + bytes(40), "is the file damaged?"),
        (b"\xd4\xc3\xb2\xa1" + bytes(3), "in.pcap"),
    ],
)
def test_what_is_no_capture_says_so_and_names_the_file(tmp_path: Path, content: bytes, message: str) -> None:
    """Any bytes: CaptureError, never another exception."""
    path = tmp_path / "in.pcap"
    path.write_bytes(content)
    with pytest.raises(CaptureError) as caught:
        list(read_frames(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        (1, Ether() / IP()), (1, Ether() / Dot1Q() / Dot1Q() / IP()), (1, Ether() / IPv6()),
        (113, CookedLinux() / IP()), (101, IP()), (101, IPv6()), (228, IP()), (229, IPv6()),
    ],
)  # fmt: skip
def test_ip_is_found_behind_every_link_layer(link_type: int, frame: Any) -> None:
    """VLAN tags included."""
    data = bytes(frame)
    assert data[ip_offset(link_type, data) :] == bytes(frame[IP] if IP in frame else frame[IPv6])


def test_frame_without_ip_is_none() -> None:
    """ARP, and frames too short for a header."""
    assert ip_offset(1, bytes(Ether() / ARP())) == -1
    assert ip_offset(1, b"short") == -1
    assert ip_offset(113, b"") == -1
    assert ip_offset(276, b"") == -1
