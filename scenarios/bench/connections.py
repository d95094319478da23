"""New TCP connections per second (wrk against nginx, one request each), against forwarding with conntrack on."""

from __future__ import annotations

import re
from pathlib import Path

from lab.lab import Lab
from lab.services import web
from lab.services.base import find_program
from lab.services.pki import Pki
from scenarios.bench.boxed import bench_lab, measure_in_turn
from scenarios.bench.figures import Figure

AT_A_TIME = 32
PAGE_BYTES = 600

_CONNTRACK = ["iptables", "-A", "FORWARD", "-m", "conntrack", "--ctstate", "INVALID", "-j", "ACCEPT"]
"""Any rule that names conntrack turns it on in this namespace; this one never matches a page's packets."""

_MANY_PORTS = ["sysctl", "-w", "net.ipv4.ip_local_port_range=1024 65535", "net.ipv4.tcp_tw_reuse=1"]
"""A client that comes 30,000 times a second waits in TIME_WAIT for a minute on every port that it has."""


def measure_connections(
    run_dir: Path, profiles: dict[str, float], *, pairs: int, seconds: float
) -> list[Figure]:
    """One figure for each profile -> bar: connections per second divided by those of forwarding just before."""
    find_program("wrk", package="wrk")
    with bench_lab(run_dir, ["web"]) as lab:
        certificate = Pki(run_dir / "pki").issue(["web.example"])
        directory = run_dir / "web"
        directory.mkdir()
        service = web.start(
            lab.hosts["web"],
            directory,
            server_name="web.example",
            certificate=certificate,
            page_bytes=PAGE_BYTES,
        )
        service.wait_ready()
        lab.box.run(_CONNTRACK, timeout_s=30).check_returncode()
        lab.hosts["sim1"].run(_MANY_PORTS, timeout_s=30).check_returncode()
        figures = measure_in_turn(
            lab, run_dir, what="new connections", unit="of forwarding with conntrack", profiles=profiles, pairs=pairs,
            measure=lambda: _per_second(lab, seconds),
        )  # fmt: skip
        service.stop()
    return figures


def _per_second(lab: Lab, seconds: float) -> float:
    argv = [
        "wrk", "-t1", f"-c{AT_A_TIME}", f"-d{seconds:g}s", "-H", "Connection: close",
        f"http://{lab.hosts['web'].ipv4}/",
    ]  # fmt: skip
    done = lab.hosts["sim1"].run(argv, timeout_s=seconds + 20)
    found = re.search(rb"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError(f"expected wrk to report requests, got {done.stdout!r} {done.stderr!r}")
    return float(found[1])
