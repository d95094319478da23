"""From a trigger's arrival at the box to the first forged packet's departure, read from the box's own captures."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median, quantiles

from lab.lab import Lab
from middlebox.packet import RST
from scenarios.bench.boxed import BoxEnd, bench_lab, box_with
from scenarios.bench.figures import Figure
from scenarios.captures import read_capture

PROFILE = "tmobile-uk-2012"
PORT = 587
TRIGGER = b"STARTTLS\r\n"

_SERVER = f"""
import socket
listener = socket.create_server(("", {PORT}), backlog=64)
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
host, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
for _ in range(count):
    with socket.create_connection((host, port)) as connection:
        connection.recv(1000)
        connection.sendall(b"STARTTLS\\r\\n")
        try:
            connection.recv(1000)
        except ConnectionResetError:
            pass
"""


def measure_latency(
    run_dir: Path, *, connections: int, median_bar_us: float, p99_bar_us: float
) -> list[Figure]:
    """Median and 99th percentile in microseconds over `connections` triggers, one after the other."""
    with bench_lab(run_dir, ["mail"]) as lab:
        lab.hosts["mail"].popen([sys.executable, "-c", _SERVER])
        lab.hosts["mail"].wait_for_port(PORT, timeout_s=30)
        ended, delays_us = _captured_delays_us(lab, run_dir, connections)
    (end,) = ended
    details = {"triggers": connections, "answered": len(delays_us), "box": end.figures}
    valid = end.valid and len(delays_us) == connections
    p99 = quantiles(delays_us, n=100)[98]
    return [
        Figure(
            "trigger to forged packet, median", median(delays_us), "us", median_bar_us, True, valid, details
        ),
        Figure("trigger to forged packet, 99th percentile", p99, "us", p99_bar_us, True, valid, details),
    ]


def _captured_delays_us(lab: Lab, run_dir: Path, connections: int) -> tuple[list[BoxEnd], list[float]]:
    captures = lab.capture(["box-inside"])
    captures.wait_ready()
    with box_with(lab, PROFILE, run_dir / "latency.jsonl") as ended:
        argv = [sys.executable, "-c", _CLIENT, lab.hosts["mail"].ipv4, str(PORT), str(connections)]
        lab.hosts["sim1"].run(argv, timeout_s=120)
    captures.stop()
    seen_ns: dict[int, int] = {}
    delays_us = []
    for captured in read_capture(captures.paths["box-inside"]):
        p = captured.packet
        if p.dport == PORT and p.payload == TRIGGER:
            seen_ns[p.sport] = captured.time_ns
        elif p.sport == PORT and p.flags & RST and p.dport in seen_ns:
            delays_us.append((captured.time_ns - seen_ns.pop(p.dport)) / 1000)
    return ended, delays_us
