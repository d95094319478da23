"""Emulation: links delay, limit and lose as they were told, in order, and by whatever this kernel has."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.host import Host
from lab.lab import Lab
from lab.link import LinkMethod, LinkSpec, choose_method, netem_lines
from lab.netns import in_network_of
from lab.topology import IspTopology

pytestmark = pytest.mark.sandboxed

MS = 1_000_000
USERS = pytest.mark.parametrize("user", ["root", "ordinary"])


def round_trips_ms(host: Host, address: str, *, count: int = 10) -> list[float]:
    """Round-trip times of that many pings, 20 ms apart."""
    argv = ["ping", "-c", str(count), "-i", "0.02", "-W", "5", address]
    said = host.run(argv, timeout_s=20).stdout.decode()
    return [float(text) for text in re.findall(r"time=([\d.]+) ms", said)]


def quickest(measure: Callable[[], float], *, within: float) -> float:
    """The least of up to thirty measurements; enough as soon as one is within.

    A machine that does other work too can only lengthen what a link does to packets: the least says what the link does,
    and that must not be too little either.
    """
    least = measure()
    for _ in range(29):
        if least < within:
            break
        least = min(least, measure())
    return least


def quickest_ms(host: Host, address: str, *, within: float) -> float:
    """The quickest round trip."""
    return quickest(lambda: min(round_trips_ms(host, address)), within=within)


@contextmanager
def lab_with(run_dir: Path, links: Mapping[str, LinkSpec]) -> Iterator[Lab]:
    """Two subscribers, one hop before and two after the box."""
    topology = IspTopology(subscribers=2, hops_before_box=1, hops_after_box=2, servers=["mail"])
    with Lab(topology, run_dir=run_dir, links=links, seed=7) as lab:
        yield lab


@USERS
def test_link_delays_add_up_to_the_round_trip(user: str, run_dir: Path) -> None:
    """15 ms on the access link and 5 ms on three transit links are 60 ms there and back, over both families.

    Never less than 60 ms; the quickest within 4 ms more.
    """
    links = {"access": LinkSpec(delay_ns=15 * MS), "transit": LinkSpec(delay_ns=5 * MS)}
    with lab_with(run_dir, links) as lab:
        for address in (lab.hosts["mail"].ipv4, lab.hosts["mail"].ipv6):
            assert len(round_trips_ms(lab.hosts["sim1"], address)) == 10
            assert 60.0 <= quickest_ms(lab.hosts["sim1"], address, within=64.0) < 64.0
        assert lab.facts["links"]["method"] == choose_method([(lab.topology.wires[0], LinkSpec(1))]).value
        assert lab.facts["links"]["shaped"]["sim1-access1"]["delay_ns"] == 15 * MS


def test_link_of_one_subscriber_delays_that_one_only(run_dir: Path) -> None:
    """A link named by its nodes goes before its kind: sim2 is far, sim1 is near."""
    with lab_with(run_dir, {"sim2-access1": LinkSpec(delay_ns=30 * MS)}) as lab:
        sim1, sim2, mail = (lab.hosts[name] for name in ("sim1", "sim2", "mail"))
        assert quickest_ms(sim1, mail.ipv4, within=10.0) < 10.0
        assert 60.0 <= quickest_ms(sim2, mail.ipv4, within=64.0) < 64.0


def test_link_netem_commands_are_understood_by_tc(run_dir: Path) -> None:
    """tc takes every word of them; a kernel without netem may then say that it has none, and nothing else."""
    with lab_with(run_dir, {}) as lab:
        spec = LinkSpec(delay_ns=10 * MS, jitter_ns=MS, rate_bits=8_000_000, loss=0.01)
        line = netem_lines("mail", {("mail", "mail-eth0"): spec})[0]
        done = lab.hosts["mail"].run(line.split(), timeout_s=30)
        assert done.returncode == 0 or b"qdisc kind is unknown" in done.stderr, done.stderr


def test_link_without_wishes_has_no_queue_and_no_rule(run_dir: Path) -> None:
    """Where nothing is asked for, nothing is set up: no delay line, no qdisc, no iptables rule."""
    with lab_with(run_dir, {"access": LinkSpec()}) as lab:
        assert lab.facts["links"] == {"method": LinkMethod.NONE.value, "shaped": {}}
        scripts = "".join(path.read_text() for path in (run_dir / "network").glob("*.sh"))
        assert "iptables" not in scripts
        assert "qdisc" not in scripts


def test_link_delay_keeps_the_box_free(run_dir: Path) -> None:
    """Links at the box are delayed by its neighbours: its own interfaces have neither qdisc nor queue."""
    with lab_with(run_dir, {"transit": LinkSpec(delay_ns=5 * MS)}) as lab:
        assert 30.0 <= quickest_ms(lab.hosts["sim1"], lab.hosts["mail"].ipv4, within=33.0) < 33.0
        assert lab.box.run(["iptables-save", "-t", "mangle"], timeout_s=30).stdout.count(b"NFQUEUE") == 0
        for interface in lab.box.interfaces:
            qdiscs = lab.box.run(["tc", "qdisc", "show", "dev", interface], timeout_s=30).stdout
            assert b"netem" not in qdiscs


def send_numbered(
    lab: Lab, count: int, *, size_bytes: int = 100, timeout_s: float = 3.0
) -> list[tuple[int, float]]:
    """Send numbered datagrams from sim1 to mail in one go; (number, seconds after the first was sent) as they come."""
    with in_network_of(lab.hosts["mail"].pid):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with in_network_of(lab.hosts["sim1"].pid):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver, sender:
        receiver.bind(("", 7))
        receiver.settimeout(timeout_s)
        began = time.monotonic()
        for number in range(count):
            sender.sendto(
                struct.pack("!I", number).ljust(size_bytes - 28, b"\0"), (lab.hosts["mail"].ipv4, 7)
            )
        came = []
        while not came or came[-1][0] != count - 1:
            try:
                data = receiver.recv(2048)
            except TimeoutError:
                break
            came.append((struct.unpack_from("!I", data)[0], time.monotonic() - began))
        return came


def test_link_with_jitter_never_reorders(run_dir: Path) -> None:
    """200 datagrams over a link of 10 ms give or take 9 ms come in the order sent, and at different times."""
    with lab_with(run_dir, {"access": LinkSpec(delay_ns=10 * MS, jitter_ns=9 * MS)}) as lab:
        numbers = [number for number, _ in send_numbered(lab, 200)]
        assert numbers == list(range(200))
        took_ms = round_trips_ms(lab.hosts["sim1"], lab.hosts["mail"].ipv4, count=20)
        assert max(took_ms) - min(took_ms) > 3.0, "twenty round trips of jittered links are hardly equal"


def test_link_rate_is_the_time_that_packets_take(run_dir: Path) -> None:
    """100 datagrams of 1000 bytes over 8 Mbit/s take 1 ms each: the last of them, and the one in the middle."""
    with lab_with(run_dir, {"access": LinkSpec(rate_bits=8_000_000)}) as lab:

        def took_s(of_the: int) -> float:
            came = send_numbered(lab, 100, size_bytes=1000)
            assert [number for number, _ in came] == list(range(100))
            return came[of_the][1]

        assert 0.095 < quickest(lambda: took_s(99), within=0.125) < 0.125
        assert 0.045 < quickest(lambda: took_s(49), within=0.075) < 0.075


def test_link_loss_is_a_share_and_the_same_for_the_same_seed(run_dir: Path) -> None:
    """Of 400 datagrams over a link that loses a quarter, about 300 arrive."""
    with lab_with(run_dir, {"access": LinkSpec(loss=0.25)}) as lab:
        came = send_numbered(lab, 400, timeout_s=0.5)
        assert 250 <= len(came) <= 350, "six standard deviations"


def test_link_bulk_transfer_is_limited_by_the_rate_and_loses_nothing(run_dir: Path) -> None:
    """Each bit takes 50 ns on a link of 20 Mbit/s; TCP's headers, start and the delay make it 58 at most; no queue
    overflows."""
    links = {"access": LinkSpec(delay_ns=5 * MS, rate_bits=20_000_000), "transit": LinkSpec(delay_ns=2 * MS)}
    with lab_with(run_dir, links) as lab:
        mail = lab.hosts["mail"]
        mail.popen(["iperf3", "-s"], stdout=subprocess.DEVNULL)
        mail.wait_for_port(5201, timeout_s=30)

        def ns_per_bit() -> float:
            argv = ["iperf3", "-J", "-c", mail.ipv4, "-n", "3M"]
            said = json.loads(lab.hosts["sim1"].run(argv, timeout_s=30).stdout)
            return 1e9 / float(said["end"]["sum_received"]["bits_per_second"])

        assert 50 < quickest(ns_per_bit, within=58) < 58
    assert lab.facts["links"].get("overflowed", {}) == {}
