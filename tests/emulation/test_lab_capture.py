"""Emulation: captures hold every packet from the first to the last, at every point, in time order, with comments."""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from lab import pcapng
from lab.capture import CapturePoint, Captures, annotate
from lab.errors import LabError
from lab.lab import Lab
from lab.link import LinkSpec
from lab.netns import in_network_of
from lab.pcapng import Heading, Record
from lab.topology import IspTopology

pytestmark = pytest.mark.sandboxed

MS = 1_000_000
POINTS = ["sim1", "box-inside", "box-outside", "mail"]
USERS = pytest.mark.parametrize("user", ["root", "ordinary"])


def numbers_in(path: Path) -> list[int]:
    """The numbers of the datagrams to port 7 that are in a capture, in the order of the file."""
    packets = [
        record.frame[14:] for record in pcapng.read(path).records if record.frame[12:14] == b"\x08\x00"
    ]
    return [struct.unpack_from("!I", ip, 28)[0] for ip in packets if ip[9] == 17 and ip[22:24] == b"\x00\x07"]


@USERS
@pytest.mark.parametrize("delay_ns", [0, 10 * MS])
def test_captures_hold_the_first_and_the_last_packet_at_every_point(
    user: str, delay_ns: int, run_dir: Path
) -> None:
    """3000 datagrams sent at once, as soon as the captures are ready, and stopped at once: all are in all files."""
    count = 3000
    with Lab(IspTopology(), run_dir=run_dir, links={"access": LinkSpec(delay_ns=delay_ns)}) as lab:
        captures = lab.capture(POINTS)
        with in_network_of(lab.hosts["sim1"].pid):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        captures.wait_ready()
        with sender:
            for number in range(count):
                sender.sendto(struct.pack("!I", number), (lab.hosts["mail"].ipv4, 7))
        lab.wait_until_quiet()
        counts = captures.stop()
        assert {name: count.dropped for name, count in counts.items()} == dict.fromkeys(POINTS, 0)
        for name in POINTS:
            assert captures.paths[name] == run_dir / "captures" / f"{name}.pcapng"
            assert numbers_in(captures.paths[name]) == list(range(count)), name


def test_captures_end_at_one_moment_though_the_traffic_goes_on(run_dir: Path) -> None:
    """Nothing has arrived at a point that is missing at the one before it: a detector would call it forged."""
    with Lab(IspTopology(), run_dir=run_dir) as lab:
        captures = lab.capture(POINTS)
        with in_network_of(lab.hosts["sim1"].pid):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        captures.wait_ready()
        flowing, stopped = threading.Event(), threading.Event()

        def send_on() -> None:
            began_ns = time.monotonic_ns()
            for number in itertools.count():
                sender.sendto(struct.pack("!I", number), (lab.hosts["mail"].ipv4, 7))
                if number == 500:
                    flowing.set()
                if stopped.is_set():
                    break
                while time.monotonic_ns() < began_ns + number * 50_000:
                    pass  # 20,000 a second: none is so many that a ring is full, or the gap that is looked for so long

        sending = threading.Thread(target=send_on)
        with sender:
            sending.start()
            try:
                assert flowing.wait(10)
                counts = captures.stop()
            finally:
                stopped.set()
                sending.join()
        assert {name: count.dropped for name, count in counts.items()} == dict.fromkeys(POINTS, 0)
        last = [numbers_in(captures.paths[name])[-1] for name in POINTS]
        assert last == sorted(last, reverse=True)


def test_captures_follow_a_packet_along_its_way(run_dir: Path) -> None:
    """A ping is at every point later than at the one before, one hop shorter-lived, and its heading is right."""
    with Lab(IspTopology(), run_dir=run_dir) as lab:
        captures = lab.capture(POINTS)
        captures.wait_ready()
        lab.hosts["sim1"].run(["ping", "-c", "1", lab.hosts["mail"].ipv4], timeout_s=30)
        captures.stop()
        seen = [request_in(captures.paths[name]) for name in POINTS]
        assert [record.interface for record in seen] == ["sim1-eth0", "box-eth0", "box-eth1", "mail-eth0"]
        assert [record.frame[22] for record in seen] == [64, 63, 62, 61]
        assert [record.heading for record in seen] == [Heading.OUT, Heading.IN, Heading.OUT, Heading.IN]
        times = [record.time_ns for record in seen]
        assert times == sorted(times)
        assert times[-1] - times[0] < 1_000 * MS


def request_in(path: Path) -> Record:
    """The one ICMP echo request in a capture."""
    found = [
        record
        for record in pcapng.read(path).records
        if record.frame[12:14] == b"\x08\x00" and record.frame[23] == 1 and record.frame[34] == 8
    ]
    assert len(found) == 1
    return found[0]


@USERS
def test_annotated_capture_shows_its_comments_in_tshark(user: str, run_dir: Path) -> None:
    """tshark reads the file, in time order, with our comment on the very packets chosen, and the interface's name."""
    with Lab(IspTopology(), run_dir=run_dir) as lab:
        captures = lab.capture(["mail"])
        captures.wait_ready()
        for address in (lab.hosts["mail"].ipv4, lab.hosts["mail"].ipv6):
            lab.hosts["sim1"].run(["ping", "-c", "2", "-i", "0.01", address], timeout_s=30)
        captures.stop()
    path = captures.paths["mail"]

    def on_echo_reply(packet: bytes, time_ns: int) -> str | None:
        assert time_ns > 1_600_000_000 * 1_000_000_000
        is_reply = packet[0] >> 4 == 4 and packet[20] == 0 or packet[0] >> 4 == 6 and packet[40] == 129
        return "forged by reset-both-on-starttls → client" if is_reply else None

    assert annotate(path, on_echo_reply) == 4
    rows = tshark(
        path, "frame.time_epoch", "frame.interface_name", "frame.comment", "icmp.type", "icmpv6.type"
    )
    assert rows == sorted(rows)
    assert {row[1] for row in rows} == {"mail-eth0"}
    commented = {(row[3], row[4]) for row in rows if row[2]}
    assert commented == {("0", ""), ("", "129")}
    assert {row[2] for row in rows if row[2]} == {"forged by reset-both-on-starttls → client"}


def test_annotated_capture_keeps_every_byte(run_dir: Path) -> None:
    """Annotating changes no packet, no time, no interface and no count; a second time changes nothing at all."""
    with Lab(IspTopology(), run_dir=run_dir) as lab:
        captures = lab.capture(["sim1"])
        captures.wait_ready()
        lab.hosts["sim1"].run(["ping", "-c", "5", "-i", "0.01", lab.hosts["mail"].ipv4], timeout_s=30)
        captures.stop()
    path = captures.paths["sim1"]
    before = pcapng.read(path)
    assert annotate(path, lambda *_: None) == 0
    after = pcapng.read(path)
    assert after.records == sorted(before.records, key=lambda record: record.time_ns)
    assert (after.interfaces, after.statistics) == (before.interfaces, before.statistics)
    written = path.read_bytes()
    annotate(path, lambda *_: None)
    assert path.read_bytes() == written


def test_captures_with_offloads_hold_large_packets_whole(run_dir: Path) -> None:
    """With offloads on, a capture at an end has packets above the MTU, none of them cut."""
    with Lab(IspTopology(), run_dir=run_dir, offloads=True) as lab:
        captures = lab.capture(["sim1"])
        captures.wait_ready()
        mail = lab.hosts["mail"]
        mail.popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
        mail.wait_for_port(5201, timeout_s=30)
        assert lab.hosts["sim1"].run(["iperf3", "-c", mail.ipv4, "-n", "2M"], timeout_s=20).returncode == 0
        captures.stop()
    records = pcapng.read(captures.paths["sim1"]).records
    assert max(len(record.frame) for record in records) > 1514
    assert all(len(record.frame) == record.length_bytes for record in records)


def test_captures_without_offloads_show_what_a_wire_would(run_dir: Path) -> None:
    """No packet above the MTU, and every TCP checksum right."""
    with Lab(IspTopology(), run_dir=run_dir) as lab:
        captures = lab.capture(["sim1", "mail"])
        captures.wait_ready()
        mail = lab.hosts["mail"]
        mail.popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
        mail.wait_for_port(5201, timeout_s=30)
        assert lab.hosts["sim1"].run(["iperf3", "-c", mail.ipv4, "-n", "1M"], timeout_s=20).returncode == 0
        captures.stop()
    for path in captures.paths.values():
        assert max(len(record.frame) for record in pcapng.read(path).records) <= 1514
        rows = tshark(path, "tcp.checksum.status", options=["-o", "tcp.check_checksum:TRUE", "-Y", "tcp"])
        assert {row[0] for row in rows} == {"1"}


def test_captures_that_cannot_be_written_say_so(run_dir: Path) -> None:
    """A capture process that fails is a LabError with its last words and its log."""
    with Lab(IspTopology(), run_dir=run_dir) as lab:
        missing = CapturePoint("sim1", lab.hosts["sim1"].pid, "sim1-eth9", run_dir / "sim1.pcapng")
        captures = Captures([missing], config_path=run_dir / "captures.json")
        with pytest.raises(
            LabError, match=r"expected lab\.capture_process to answer, got .*No such device.*log"
        ):
            captures.wait_ready()
        captures.end()


def tshark(path: Path, *fields: str, options: list[str] | None = None) -> list[list[str]]:
    """These fields of every packet as tshark reads them; its own IDs do not matter inside."""
    argv = ["tshark", "-r", str(path), *(options or []), "-T", "fields"]
    for field in fields:
        argv += ["-e", field]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return [line.split("\t") for line in said.splitlines()]
