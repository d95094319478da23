"""lab/capture.py: annotating; capturing itself is in tests/emulation/test_lab_capture.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import pcapng
from lab.capture import annotate
from lab.pcapng import Record, Writer

IPV4, ARP = bytes(12) + b"\x08\x00", bytes(12) + b"\x08\x06"


def write(path: Path, *records: Record) -> None:
    """A capture of one interface."""
    with path.open("wb") as file:
        writer = Writer(file)
        writer.add_interface("mail-eth0", snap_bytes=2048)
        for record in records:
            writer.write(record)


def test_annotate_orders_by_time_and_keeps_the_order_of_equal_times(tmp_path: Path) -> None:
    """Packets of several processors come in the order in which they passed."""
    frames = [
        Record("mail-eth0", time_ns, IPV4 + bytes([n]), 15) for n, time_ns in enumerate([30, 10, 20, 10])
    ]
    write(tmp_path / "a.pcapng", *frames)
    annotate(tmp_path / "a.pcapng", lambda *_: None)
    assert pcapng.read(tmp_path / "a.pcapng").records == [frames[1], frames[3], frames[2], frames[0]]


def test_annotate_asks_for_ip_packets_only_and_counts_comments(tmp_path: Path) -> None:
    """The function gets the packet from its IP header on, and its time; a frame of another kind is kept unasked."""
    records = [Record("mail-eth0", 1, ARP + b"x", 15), Record("mail-eth0", 2, IPV4 + b"packet", 20)]
    write(tmp_path / "a.pcapng", *records)
    asked = []

    def comment_on(packet: bytes, time_ns: int) -> str:
        asked.append((packet, time_ns))
        return "dropped by rule x"

    assert annotate(tmp_path / "a.pcapng", comment_on) == 1
    assert asked == [(b"packet", 2)]
    assert [record.comment for record in pcapng.read(tmp_path / "a.pcapng").records] == [
        "",
        "dropped by rule x",
    ]


def test_annotate_that_fails_leaves_the_capture_as_it_was(tmp_path: Path) -> None:
    """An error in the caller's function does not cost the evidence."""
    write(tmp_path / "a.pcapng", Record("mail-eth0", 1, IPV4 + b"packet", 20))
    before = (tmp_path / "a.pcapng").read_bytes()

    def comment_on(packet: bytes, time_ns: int) -> str:
        raise KeyError(time_ns)

    with pytest.raises(KeyError):
        annotate(tmp_path / "a.pcapng", comment_on)
    assert (tmp_path / "a.pcapng").read_bytes() == before
