"""The table of docs and README, trick by box, against the wire: a RST to the client says that the box has seen it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES

SECOND_SYN = ("state-syn", "second-syn-ignored", "second-syn-resync")
SYN_TRICKS = ("syn-before", "syn-after", "syn-and-stray-byte")
"""What a SYN that means nothing can do; each of these boxes takes it in another way."""
README = Path(__file__).parents[3] / "scenarios" / "tcp-knobs" / "README.md"
_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| [^|]* \| (seen|missed) \| ([^|]*) \|$", re.MULTILINE)
_CELL = re.compile(r"`([a-z-]+)` (seen|missed)")


def table() -> dict[tuple[str, str], bool]:
    """(box, trick) -> whether it is seen, as the README has it."""
    found = {}
    for trick, base, others in _ROW.findall(README.read_text()):
        found["base", trick] = base == "seen"
        for box, word in _CELL.findall(others):
            found[box, trick] = word == "seen"
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("box", "trick"), sorted(table()))
def test_trick_is_seen_or_missed_as_the_table_says(
    box: str, trick: str, family: int, finished_run: FinishedRun
) -> None:
    """Every cell of the table is a connection of its own."""
    connection = finished_run("tcp-knobs").connection(f"{box}.{trick}", family)
    assert bool(connection.forged("client")) == table()[box, trick]
    assert connection.forged("server") == []


def test_table_has_every_step_and_every_knob_changes_something(finished_run: FinishedRun) -> None:
    """A knob that decides nothing would be no knob: each box differs from the first one in some trick."""
    [world] = [w for w in finished_run("tcp-knobs").result["worlds"] if w["name"] == "scenario"]
    steps = [step["step"] for step in world["plays"][0]["steps"]]
    played = {tuple(step.split(".")) for step in steps if not step.startswith("before-")}
    assert played == set(table())
    boxes = {path.stem for path in (README.parent / "boxes").glob("*.yaml")}
    assert {box for box, _ in table()} == boxes
    seen = table()
    for box in boxes - {"base", "state-syn-no-end-on-rst", "state-syn-end-on-fin"}:
        assert any(seen[box, trick] != seen["base", trick] for b, trick in seen if b == box)
    assert seen["state-syn", "rst-low-ttl"] != seen["state-syn-no-end-on-rst", "rst-low-ttl"]
    assert seen["state-syn", "fin-low-ttl"] != seen["state-syn-end-on-fin", "fin-low-ttl"]
    assert seen["state-syn", "only-syn-ack"] != seen["state-synack", "only-syn-ack"]
    assert seen["state-syn", "rst-low-ttl"] != seen["resync-on-rst", "rst-low-ttl"]
    assert seen["state-syn", "refused"] != seen["resync-on-refusal", "refused"]
    falls_for = {box: {trick for trick in SYN_TRICKS if not seen[box, trick]} for box in SECOND_SYN}
    assert falls_for == {
        "state-syn": {"syn-after", "syn-and-stray-byte"},
        "second-syn-ignored": {"syn-before"},
        "second-syn-resync": {"syn-and-stray-byte"},
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_no_trick_ever_reaches_a_server(finished_run: FinishedRun, family: int) -> None:
    """What is sent dies behind the box, so that only the box's reading counts."""
    run = finished_run("tcp-knobs")
    for box, trick in table():
        connection = run.connection(f"{box}.{trick}", family)
        assert all(not p.payload for p in run.at_host("web", connection))
