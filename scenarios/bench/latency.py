"""From a trigger's arrival at the box to the first forged packet's departure, read from the box's own captures."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles

from lab.lab import Lab
from middlebox.packet import RST, Packet
from scenarios.bench.boxed import BoxEnd, bench_lab, box_with
from scenarios.bench.figures import Figure
from scenarios.captures import read_capture


@dataclass(frozen=True, slots=True)
class Trigger:
    """What sets boxes off. profiles: a name, or several with + between; answer: how their first packet towards the
    client begins, which they send without any delay of their own; empty for a RST."""

    profiles: str
    port: int
    said: bytes
    answer: bytes = b""

    def is_answer(self, p: Packet) -> bool:
        return p.payload.startswith(self.answer) if self.answer else bool(p.flags & RST)


STARTTLS = Trigger("tmobile-uk-2012", 587, b"STARTTLS\r\n")

RECIPIENT = (25, b"RCPT TO:<falun@mail.example>\r\n", b"551 ")
"""For boxes with gfw-smtp-2007 among them, whose reply has no delay; gfw-2024's RSTs have a published one."""

_SERVER = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[1])), backlog=64)
while True:
    connection, _ = listener.accept()
    try:
        connection.sendall(b"220 mail.example ESMTP\\r\\n")
        while connection.recv(1000):
            pass
    except ConnectionResetError:
        pass
    connection.close()
"""

_CLIENT = """
import socket, sys
host, port, count, said = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), bytes.fromhex(sys.argv[4])
for _ in range(count):
    with socket.create_connection((host, port)) as connection:
        connection.recv(1000)
        connection.sendall(said)
        try:
            connection.recv(1000)
        except ConnectionResetError:
            pass
"""


def measure_latency(
    run_dir: Path, trigger: Trigger, *, connections: int, median_bar_us: float, p99_bar_us: float
) -> list[Figure]:
    """Median and 99th percentile in microseconds over `connections` triggers, one after the other."""
    directory = run_dir / trigger.profiles
    directory.mkdir()
    with bench_lab(directory, ["mail"]) as lab:
        lab.hosts["mail"].popen([sys.executable, "-c", _SERVER, str(trigger.port)])
        lab.hosts["mail"].wait_for_port(trigger.port, timeout_s=30)
        ended, delays_us = _captured_delays_us(lab, directory, trigger, connections)
    (end,) = ended
    details = {"triggers": connections, "answered": len(delays_us), "box": end.figures}
    valid = end.valid and len(delays_us) == connections
    p99 = quantiles(delays_us, n=100)[98]
    name = f"trigger to forged packet, {trigger.profiles}"
    return [
        Figure(f"{name}, median", median(delays_us), "us", median_bar_us, True, valid, details),
        Figure(f"{name}, 99th percentile", p99, "us", p99_bar_us, True, valid, details),
    ]


def _captured_delays_us(
    lab: Lab, run_dir: Path, trigger: Trigger, connections: int
) -> tuple[list[BoxEnd], list[float]]:
    captures = lab.capture(["box-inside"])
    captures.wait_ready()
    with box_with(lab, trigger.profiles, run_dir / "latency.jsonl") as ended:
        there = [lab.hosts["mail"].ipv4, str(trigger.port), str(connections), trigger.said.hex()]
        lab.hosts["sim1"].run([sys.executable, "-c", _CLIENT, *there], timeout_s=120)
    captures.stop()
    seen_ns: dict[int, int] = {}
    delays_us = []
    for captured in read_capture(captures.paths["box-inside"]):
        p = captured.packet
        if p.dport == trigger.port and p.payload == trigger.said:
            seen_ns[p.sport] = captured.time_ns
        elif p.sport == trigger.port and p.dport in seen_ns and trigger.is_answer(p):
            delays_us.append((captured.time_ns - seen_ns.pop(p.dport)) / 1000)
    return ended, delays_us
