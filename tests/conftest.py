"""What every test shares: marks by folder, settings of hypothesis, a run folder of its own.

- A test in `tests/emulation` is marked `emulation`, one in `tests/e2e` is marked `e2e`.
- Generated examples are the same in every run; `make test-deep` draws more of them, and fresh ones.
- No test writes into the `runs` folder of the checkout.
- A test marked `tshark_4_0` compares with tshark 4.0, Debian 12's and CI's: other versions mean other things by some
  filters (`not in`, slices behind the end) and name other values, so there they would compare with another language.
- Ctrl-C reaches what tests start: begun in the background of a shell they, and all that they start, would ignore it.
- Tests find `ip` and `iptables` as root does: an ordinary user's PATH on Debian lacks their directories.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from lab.sandbox import program_path

FOLDER_MARKS = ("emulation", "e2e")

settings.register_profile(
    "same-every-time",
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "deep", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)


def pytest_configure(config: pytest.Config) -> None:
    """Where programs are; what Ctrl-C does; how many examples hypothesis draws, by the marks asked for."""
    os.environ["PATH"] = program_path()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.load_profile("deep" if config.option.markexpr == "deep" else "same-every-time")


@cache
def tshark_version() -> str:
    """As `4.0`, or `none`."""
    if shutil.which("tshark") is None:
        return "none"
    said = subprocess.run(["tshark", "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+\.\d+)\.\d+", said)
    return found[1] if found else "unknown"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks by folder; a test that needs root says so when it is not run."""
    tests = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(tests).parts[0]
        if folder in FOLDER_MARKS:
            item.add_marker(folder)
        if item.get_closest_marker("root") is not None and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs real root; CI has it"))
        if item.get_closest_marker("tshark_4_0") is not None and (version := tshark_version()) != "4.0":
            item.add_marker(
                pytest.mark.skip(reason=f"compares with tshark 4.0, here is {version}; CI has it")
            )


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs of this session go; tests in another folder may have another."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def _runs_go_there(runs_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the test and of the programs that it starts, whatever ran before it in this process."""
    monkeypatch.setenv("TAMPERLAB_RUNS", str(runs_folder))
