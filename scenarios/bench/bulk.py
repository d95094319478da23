"""One bulk TCP flow (iperf3) through the box, against plain forwarding."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab.lab import Lab
from lab.services.base import find_program
from scenarios.bench.boxed import bench_lab, measure_in_turn
from scenarios.bench.figures import Figure

IPERF_PORT = 5201


def measure_bulk(run_dir: Path, profiles: dict[str, float], *, pairs: int, seconds: float) -> list[Figure]:
    """One figure for each profile -> bar: its throughput (Gbit/s) divided by that of plain forwarding just before."""
    find_program("iperf3", package="iperf3")
    with bench_lab(run_dir, ["mail"]) as lab:
        server = lab.hosts["mail"]
        server.popen(["iperf3", "-s", "-p", str(IPERF_PORT)], stdout=subprocess.DEVNULL)
        server.wait_for_port(IPERF_PORT, timeout_s=30)
        return measure_in_turn(
            lab, run_dir, what="bulk flow", unit="of plain forwarding", profiles=profiles, pairs=pairs,
            measure=lambda: _throughput_gbit(lab, seconds),
        )  # fmt: skip


def _throughput_gbit(lab: Lab, seconds: float) -> float:
    argv = ["iperf3", "-J", "-c", lab.hosts["mail"].ipv4, "-p", str(IPERF_PORT), "-t", f"{seconds:g}"]
    done = lab.hosts["sim1"].run(argv, timeout_s=seconds + 20)
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9
