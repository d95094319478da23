"""Expectations on the screen: once for all IP versions, failures with their packets, good controls in a line."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from scenarios.report.verdicts import merged, verdict_lines
from tests.unit.played import result


def lines(world: dict[str, Any], *, whole: bool = False) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, width=80, color_system=None)
    for line in verdict_lines(world, width=80, whole=whole):
        console.print(line)
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_verdicts_alike_over_both_ip_versions_stand_once(tmp_path: Path) -> None:
    """One line for two plays, and no word of IP versions."""
    main = result(tmp_path)["worlds"][0]
    shown = lines(main)
    assert shown[0] == " ✓ send ends with connection-reset"
    assert not any("IPv" in line for line in shown)
    assert len(merged(main)) == 4


def test_verdicts_that_differ_between_ip_versions_say_which(tmp_path: Path) -> None:
    """A failure over IPv6 only is named so."""
    main = result(tmp_path)["worlds"][0]
    main["plays"][1]["checks"][0] |= {"passed": False, "seen": "timeout", "evidence": []}
    shown = lines(main)
    assert shown[:2] == [
        " ✓ send ends with connection-reset: (IPv4)", " ✗ send ends with connection-reset: saw timeout (IPv6)",
    ]  # fmt: skip


def test_verdicts_failed_expectation_shows_its_packets(tmp_path: Path) -> None:
    """Both IP versions failed alike: one line, the packets of both."""
    shown = lines(result(tmp_path, expected="delivered")["worlds"][0])
    assert shown[0] == " ✗ send ends with delivered: saw connection-reset"
    assert sum("client sim1" in line for line in shown) == 2
    assert any("192.0.2.11:45678 to 203.0.113.25:587" in line for line in shown)


def test_verdicts_packets_that_were_drawn_are_not_drawn_again(tmp_path: Path) -> None:
    """Three expectations that fail on the same packets: one ladder, and two lines that point to it."""
    main = result(tmp_path, expected="delivered")["worlds"][0]
    main["plays"] = main["plays"][:1]
    failed = main["plays"][0]["checks"][0]
    main["plays"][0]["checks"] = [failed, failed | {"expectation": "x"}, failed | {"expectation": "y"}]
    shown = lines(main)
    assert sum("client sim1" in line for line in shown) == 1
    assert sum(line.endswith("203.0.113.25:587: the packets drawn above") for line in shown) == 2


def test_verdicts_good_control_is_one_line_unless_all_is_asked_for(tmp_path: Path) -> None:
    """The reader's eye goes to what is unusual."""
    control = result(tmp_path)["worlds"][1]
    assert lines(control) == [" ✓ control no-middlebox: why no-middlebox"]
    assert " ✓ nothing forged or dropped without a box" in lines(control, whole=True)


def test_verdicts_bad_control_shows_everything(tmp_path: Path) -> None:
    """A control that failed is not hidden in a line."""
    control = result(tmp_path)["worlds"][1]
    control["passed"] = False
    control["plays"][0]["checks"][0]["passed"] = False
    shown = lines(control)
    assert shown[0] == " ✗ control no-middlebox: why no-middlebox"
    assert len(shown) > 3
