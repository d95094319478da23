"""End to end: `make bench` measures what it says and writes it down. How much it measures is never a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GREAT_FIREWALL = "gfw-2024+gfw-dns+gfw-smtp-2007"
FIGURES = {
    *(f"trigger to forged packet, {box}, {which}" for box in ("tmobile-uk-2012", GREAT_FIREWALL)
      for which in ("median", "99th percentile")),
    *(f"bulk flow, {box}" for box in ("watch-sni", "watch-keyword", GREAT_FIREWALL)),
    *(f"new connections, {box}" for box in ("watch-sni", GREAT_FIREWALL)),
    *(f"{what}{of}" for of in ("", f", {GREAT_FIREWALL}")
      for what in ("engine alone, one core", "engine with 3,000 flows", "memory of 3,000 flows")),
}  # fmt: skip


def measured(runs_folder: Path, *parts: str) -> set[str]:
    """Names of the figures of one short round: each is a positive number with the bar it has to reach."""
    done = subprocess.run(
        [sys.executable, "-m", "scenarios.bench", *parts, "--pairs", "1", "--seconds", "1", "--triggers", "5",
         "--flows", "3000"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    newest = max(runs_folder.glob("bench-*/bench.json"), key=lambda file: file.stat().st_mtime_ns)
    figures = json.loads(newest.read_text())["figures"]
    assert all(figure["value"] > 0 and figure["bar"] > 0 for figure in figures)
    assert done.returncode == (0 if all(figure["reached"] for figure in figures) else 1)
    return {figure["name"] for figure in figures}


def test_bench_of_a_part_writes_its_figures(runs_folder: Path) -> None:
    """What takes no processor from other tests: the latency."""
    assert measured(runs_folder, "latency") == {
        name for name in FIGURES if name.startswith("trigger to forged")
    }


@pytest.mark.deep
def test_bench_writes_every_figure_with_its_bar(runs_folder: Path) -> None:
    """All parts, as `make bench` has them; the status says if every bar was reached."""
    assert measured(runs_folder) == FIGURES


@pytest.mark.parametrize("part", ["engin", "all"])
def test_bench_unknown_part_is_told_which_there_are(part: str) -> None:
    """A typing error measures nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "scenarios.bench", part], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert f"expected parts of engine, latency, bulk, connections, got '{part}'" in done.stderr
