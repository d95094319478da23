"""What reaches the kernel, and what does not; that it gets there is shown in tests/emulation/test_box_gate.py."""

from __future__ import annotations

import subprocess

import pytest

from middlebox import firewall
from middlebox.elephants import Elephants
from middlebox.firewall import Firewall
from middlebox.kernel import Wiring
from middlebox.load import load_deployment
from middlebox.profile import Deployment
from middlebox.shortcut import Elephant
from middlebox.wants import plan_for


def test_elephant_of_older_rules_is_not_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its report has waited in the queue while the rules changed: by the new ones it may have to be watched."""
    told: list[str] = []

    def note(text: str) -> subprocess.Popen[bytes]:
        told.append(text)
        return subprocess.Popen(["true"])

    monkeypatch.setattr(firewall, "_start", note)
    monkeypatch.setattr(Elephants, "_may_pass", lambda _herd, _elephant: True)
    box = Firewall(plan_for(Deployment("none", ())), Wiring("inside", "outside"))
    box.next_generation()
    box.collect(wait=True)
    before = len(told)
    elephant = Elephant(bytes(4), 1, bytes(4), 2)
    box.let_in(elephant, box.generation - 1, 0)
    assert len(told) == before
    box.let_in(elephant, box.generation, 0)
    assert len(told) == before + 1
    box.collect(wait=True)


@pytest.mark.parametrize("missing", ["string", "labels", "log"])
def test_kernel_that_cannot_copy_is_asked_about_everything(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for no words, keeps no headers, or has no packet log: nothing but speed is lost."""
    told: list[str] = []

    def refuse(*_: object, **__: object) -> None:
        raise OSError

    def note(text: str) -> subprocess.Popen[bytes]:
        told.append(text)
        return subprocess.Popen(
            ["false" if missing == "log" and "log group" in text else "true"], stderr=subprocess.PIPE
        )

    monkeypatch.setattr(firewall, "_start", note)
    monkeypatch.setattr(firewall, "write_sysctl", lambda _path, _value: True)
    for name, extension in (
        ("add_queue_rule", "queue"),
        ("add_word_rule", "string"),
        ("add_note_rule", "labels"),
    ):
        monkeypatch.setattr(firewall, name, refuse if missing == extension else lambda *_, **__: None)
    plan = plan_for(load_deployment("gfw-2024"), punishing=False)
    box = Firewall(plan, Wiring("inside", "outside", takes_copies=True))
    assert box.plan.words
    box.install()
    assert not box.plan.words
    assert "log group" not in told[-1]
    box.change_plan(plan)
    assert not box.plan.words
