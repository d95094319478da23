"""One bulk TCP flow (iperf3) through the box, against plain forwarding."""

from __future__ import annotations

import json
from pathlib import Path

from lab.lab import Lab
from lab.services.base import find_program
from scenarios.bench.boxed import bench_lab, box_with
from scenarios.bench.figures import Figure, paired_ratio

IPERF_PORT = 5201


def measure_bulk(run_dir: Path, profiles: dict[str, float], *, pairs: int, seconds: float) -> list[Figure]:
    """One figure for each profile -> bar: its throughput divided by that of plain forwarding just before."""
    find_program("iperf3", package="iperf3")
    figures = []
    with bench_lab(run_dir, ["mail"]) as lab:
        server = lab.hosts["mail"]
        server.popen(["iperf3", "-s", "-p", str(IPERF_PORT)])
        server.wait_for_port(IPERF_PORT, timeout_s=5)
        _throughput_gbit(lab, seconds=1)  # warm up
        for profile, bar in profiles.items():
            measured, ends = [], []
            for number in range(pairs):
                plain = _throughput_gbit(lab, seconds)
                with box_with(lab, profile, run_dir / f"bulk-{profile}-{number}.jsonl") as ended:
                    boxed = _throughput_gbit(lab, seconds)
                ends += ended
                measured.append((plain, boxed))
            figures.append(
                Figure(
                    f"bulk flow, {profile}",
                    paired_ratio(measured),
                    "of plain forwarding",
                    bar,
                    valid=all(end.valid for end in ends),
                    details={"gbit_per_s_plain_and_box": measured, "box": [end.figures for end in ends]},
                )
            )
    return figures


def _throughput_gbit(lab: Lab, seconds: float) -> float:
    argv = ["iperf3", "-J", "-c", lab.hosts["mail"].ipv4, "-p", str(IPERF_PORT), "-t", f"{seconds:g}"]
    done = lab.hosts["sim1"].run(argv, timeout_s=seconds + 20)
    return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9
