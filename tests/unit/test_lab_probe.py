"""lab/probe.py: what a machine lacks, with the command that fixes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import probe, sandbox


def test_missing_programs_are_named_with_their_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On a machine with nothing, every program is asked for, and no trial is made."""
    monkeypatch.setattr(sandbox, "program_path", lambda: str(tmp_path))
    said = [str(problem) for problem in probe.probe()]
    assert "expected the program mnexec, got none; sudo apt-get install mininet" in said
    assert len(said) == len(probe.PROGRAMS)


def test_missing_module_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python module too."""
    monkeypatch.setitem(probe.MODULES, "no_such_module", "make setup")
    assert [str(problem) for problem in probe.probe()] == [
        "expected the Python module no_such_module, got none; make setup"
    ]


def test_this_machine_can_run_the_lab() -> None:
    """Where the tests run, nothing is missing; the probe leaves this process where it was."""
    before = Path("/proc/self/ns/net").stat()
    assert probe.probe() == []
    assert Path("/proc/self/ns/net").stat().st_ino == before.st_ino
    assert not sandbox.inside()


def test_kernel_without_a_part_of_nft_is_a_problem_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretended by a rule that nobody knows."""
    monkeypatch.setattr(probe, "_BOX_RULES", "add rule inet probe gate no such words\n")
    (problem,) = probe.probe()
    assert problem.message.startswith("expected nft with conntrack, got ")
    assert "nft_numgen" in problem.fix


def test_nft_that_cannot_say_the_rules_is_a_problem_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of Ubuntu 22.04, pretended by a word that nobody knows."""
    monkeypatch.setattr(probe, "_BOX_WORDS", "add rule inet words gate tcp no_such_field 5\n")
    (problem,) = probe.probe()
    assert problem.message.startswith("expected an nft that knows the box's words, got ")
    assert problem.fix.startswith("upgrade nftables to 1.0.6")


def test_trial_that_fails_is_a_problem_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel without NFQUEUE, pretended by a rule that it cannot know."""
    monkeypatch.setattr(probe, "_QUEUE_RULE", "*mangle\n-A FORWARD -j NO_SUCH_TARGET\nCOMMIT\n")
    (problem,) = probe.probe()
    assert problem.message.startswith("expected iptables-restore with NFQUEUE, got ")
    assert problem.fix.startswith("sudo modprobe -a nfnetlink_queue")
