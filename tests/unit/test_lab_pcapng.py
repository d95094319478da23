"""lab/pcapng.py: what is written is read, by us and by others, and what is damaged is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from lab import pcapng
from lab.pcapng import Heading, Record, Statistics, Writer

NAMES = ["sim1-eth0", "box-eth1"]

records = st.builds(
    lambda interface, time_ns, frame, cut, heading, comment: Record(
        interface, time_ns, frame, len(frame) + cut, heading, comment
    ),
    st.sampled_from(NAMES),
    st.integers(0, 2**63 - 1),
    st.binary(max_size=100),
    st.integers(0, 1000),
    st.sampled_from(Heading),
    st.text(max_size=40).filter(lambda text: "\n" not in text),
)


def write(path: Path, written: list[Record]) -> None:
    """A file with two interfaces and these records."""
    with path.open("wb") as file:
        writer = Writer(file)
        for name in NAMES:
            writer.add_interface(name, snap_bytes=2048)
        for record in written:
            writer.write(record)
        writer.write_statistics(NAMES[0], time_ns=5, received=len(written), dropped=3)


@given(written=st.lists(records, max_size=20))
def test_what_is_written_is_read(written: list[Record], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Any frames, times to the nanosecond, headings and comments come back as they were."""
    path = tmp_path_factory.getbasetemp() / "written.pcapng"
    write(path, written)
    capture = pcapng.read(path)
    assert capture.records == written
    assert capture.interfaces == dict.fromkeys(NAMES, 2048)
    assert capture.statistics == {NAMES[0]: Statistics(5, len(written), 3)}


def test_tshark_reads_what_we_write(tmp_path: Path) -> None:
    """Time, interface, direction, comment and length are what tshark says too."""
    frame = bytes.fromhex("020000000002020000000001") + b"\x88\xb5" + bytes(46)
    comment = "forged → client\nby rule x"
    write(
        tmp_path / "a.pcapng",
        [
            Record(NAMES[1], 1_325_757_600_123_456_789, frame, 70, Heading.OUT, comment),
            Record(NAMES[0], 1_325_757_600_123_456_790, frame, 60, Heading.IN),
        ],
    )
    fields = [
        "frame.time_epoch",
        "frame.interface_name",
        "frame.packet_flags_direction",
        "frame.len",
        "frame.cap_len",
    ]
    argv = ["tshark", "-r", tmp_path / "a.pcapng", "-T", "fields", "-E", "separator=|", "-E", "occurrence=l"]
    for field in [*fields, "frame.comment"]:
        argv += ["-e", field]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said.replace("\\n", "\n") == (
        f"1325757600.123456789|box-eth1|0x00000002|70|60|{comment}\n"
        "1325757600.123456790|sim1-eth0|0x00000001|60|60|\n"
    )


def test_file_of_dumpcap_kind_with_microseconds_is_read(tmp_path: Path) -> None:
    """editcap's pcapng, with another time resolution, is read to the same times."""
    frame = bytes(12) + b"\x88\xb5" + bytes(46)
    written = [Record(NAMES[0], 1_325_757_600_123_456_000, frame, 60)]
    write(tmp_path / "a.pcapng", written)
    for name, kind in (("b.pcap", "pcap"), ("c.pcapng", "pcapng")):
        source = "a.pcapng" if kind == "pcap" else "b.pcap"
        subprocess.run(["editcap", "-F", kind, tmp_path / source, tmp_path / name], check=True)
    assert [(one.time_ns, one.frame) for one in pcapng.read(tmp_path / "c.pcapng").records] == [
        (written[0].time_ns, frame)
    ]


@pytest.mark.parametrize("ethertype", [b"\x08\x00", b"\x86\xdd"])
def test_ip_packet_is_the_frame_without_its_header(ethertype: bytes) -> None:
    """IPv4 and IPv6; of an ARP frame there is none."""
    assert Record("a", 0, bytes(12) + ethertype + b"packet", 20).ip_packet() == b"packet"
    assert Record("a", 0, bytes(12) + b"\x08\x06" + b"packet", 20).ip_packet() is None


@given(data=st.binary(max_size=200), keep=st.integers(0, 300))
def test_damaged_file_is_refused_with_its_name_and_never_otherwise(
    data: bytes, keep: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Any bytes, also behind a good beginning: read, or a ValueError that names the file."""
    path = tmp_path_factory.getbasetemp() / "damaged.pcapng"
    write(path, [Record(NAMES[0], 1, b"frame", 5, Heading.IN, "comment")])
    path.write_bytes(path.read_bytes()[:keep] + data)
    messages = []
    try:
        pcapng.read(path)
    except ValueError as error:
        messages.append(str(error))
    assert all(text.startswith(f"expected a pcapng file, got {str(path)!r}: ") for text in messages)
