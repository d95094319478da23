"""lab/helper.py: a process that says when it is ready and what it did."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import helper
from lab.errors import LabError
from lab.helper import Helper

GOOD = """
import json, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(json.dumps({"ready": json.load(open(sys.argv[1]))["word"]}), flush=True)
signal.sigwait({signal.SIGTERM})
print('{"done": 1}', flush=True)
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is the module `helped` for a helper."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "helped.py"


def test_helper_gets_its_config_and_gives_two_answers(module: Path, tmp_path: Path) -> None:
    """Its first line when it is ready, its last when it is told to stop."""
    module.write_text(GOOD)
    one = Helper("helped", {"word": "hello"}, tmp_path / "config.json")
    assert one.wait_ready() == {"ready": "hello"}
    assert one.stop() == {"done": 1}
    one.end()
    one.end()


def test_helper_that_dies_is_an_error_with_its_last_words_and_its_log(module: Path, tmp_path: Path) -> None:
    """The last line of a traceback says what it was."""
    module.write_text("raise OSError('no such queue')")
    one = Helper("helped", {}, tmp_path / "config.json")
    with pytest.raises(
        LabError, match=r"expected helped to answer, got 'OSError: no such queue'; read .*config\.log"
    ):
        one.wait_ready()
    one.end()


def test_helper_that_hangs_is_an_error_and_can_be_ended(
    module: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever."""
    monkeypatch.setattr(helper, "READY_WITHIN_S", 0.2)
    module.write_text("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()")
    one = Helper("helped", {}, tmp_path / "config.json")
    with pytest.raises(LabError, match="expected helped to answer, got 'nothing'"):
        one.wait_ready()
    one.end()
