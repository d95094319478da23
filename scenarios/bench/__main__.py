"""`make bench`: every figure against its bar, a table on the terminal, `bench.json` in the run folder."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from time import strftime, time

from rich.console import Console
from rich.table import Table

from lab import sandbox
from lab.errors import LabError
from scenarios.bench.bulk import measure_bulk
from scenarios.bench.connections import measure_connections
from scenarios.bench.figures import Figure
from scenarios.bench.latency import RECIPIENT, STARTTLS, Trigger, measure_latency
from scenarios.bench.replaying import MANY_FLOWS, measure_engine
from scenarios.runs import runs_directory

GREAT_FIREWALL = "gfw-2024+gfw-dns+gfw-smtp-2007"
"""Three of its boxes at once, as at one hop of the real one."""

DECIDED_EARLY = {"watch-sni": 0.95, GREAT_FIREWALL: 0.95}
WATCHED_TO_THE_END = {"watch-keyword": 0.30}

PARTS: dict[str, Callable[[Path, argparse.Namespace], list[Figure]]] = {
    "engine": lambda d, a: [
        figure
        for profiles in ("", GREAT_FIREWALL)
        for figure in measure_engine(
            d, profiles, flows=a.flows, rate_bar=100_000, flat_bar=0.80, memory_bar_mb=150, rounds=a.pairs
        )
    ],
    "latency": lambda d, a: [
        figure
        for trigger in (STARTTLS, Trigger(GREAT_FIREWALL, *RECIPIENT))
        for figure in measure_latency(d, trigger, connections=a.triggers, median_bar_us=300, p99_bar_us=2000)
    ],
    "bulk": lambda d, a: measure_bulk(
        d, DECIDED_EARLY | WATCHED_TO_THE_END, pairs=a.pairs, seconds=a.seconds
    ),
    "connections": lambda d, a: measure_connections(d, DECIDED_EARLY, pairs=a.pairs, seconds=a.seconds),
}


def main() -> int:
    """Measure; 0 when every bar is reached, 1 when not, 3 when this machine cannot."""
    arguments = _arguments()
    console = Console(stderr=True)
    try:
        sandbox.enter()
        run_dir = runs_directory() / f"bench-{strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        run_dir.mkdir(parents=True)
        figures: list[Figure] = []
        for part in arguments.parts:
            directory = run_dir / part
            directory.mkdir()
            with console.status(f"measuring {part}"):
                figures += PARTS[part](directory, arguments)
    except LabError as error:
        console.print(str(error), markup=False)
        return 3
    bench = {
        "schema": 1,
        "time": int(time()),
        "machine": {
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "python": platform.python_version(),
        },
        "arguments": vars(arguments),
        "figures": [figure.as_json() for figure in figures],
    }
    (run_dir / "bench.json").write_text(json.dumps(bench, indent=1))
    Console().print(_table(figures))
    print(f"{run_dir}/bench.json")
    return 0 if all(figure.reached for figure in figures) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench", description="What the box costs, as ratios within one run."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument(
        "--pairs",
        type=int,
        default=5,
        help="baseline and box in turn, this often; 4 times as often where the bar is near 1",
    )
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement")
    parser.add_argument("--triggers", type=int, default=500, help="for the latency")
    parser.add_argument("--flows", type=int, default=MANY_FLOWS, help="for the engine: how many are many")
    arguments = parser.parse_args()
    if unknown := [part for part in arguments.parts if part not in PARTS]:
        parser.error(f"expected parts of {', '.join(PARTS)}, got {unknown[0]!r}")
    arguments.parts = arguments.parts or list(PARTS)
    return arguments


def _table(figures: list[Figure]) -> Table:
    table = Table(title="what the box costs")
    for heading in ("figure", "measured", "bar", ""):
        table.add_column(heading)
    for figure in figures:
        value = f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:.3g}"
        stray = f" ± {figure.give_or_take:.2g}" if figure.give_or_take else ""
        word = (
            "[green]reached[/]" if figure.reached else "[red]missed[/]" if figure.valid else "[red]invalid[/]"
        )
        sign = "at most" if figure.smaller_is_better else "at least"
        table.add_row(figure.name, f"{value}{stray} {figure.unit}", f"{sign} {figure.bar:,g}", word)
    return table


if __name__ == "__main__":
    sys.exit(main())
