"""What set off a rule in a run, Wireshark finds in its captures by the rule's own filter."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from scenarios.captures import read_capture
from scenarios.load import load_scenario, scenario_slugs
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.exempt import AT_ODDS, ON_ANY_PORT, PORTS, at_odds, ends_of, exempt_filters
from tests.e2e.test_captures_in_wireshark import frames
from tests.e2e.test_scenarios import skip_without_servers

TAMPERED = [slug for slug in scenario_slugs() if load_scenario(slug).truth == "tampered"]

FROM_INSIDE = "(ip.src == 192.0.2.0/24 or ipv6.src == 2001:db8:1::/64)"
COMES_IN = {"box-inside": FROM_INSIDE, "box-outside": f"not {FROM_INSIDE}"}
"""Side of the box -> what comes in there, and has not been changed yet."""
AGAIN = "tcp.analysis.retransmission"
"""What is sent once more: tshark dissects it once, a box that looks at single packets does it each time."""


@cache
def left_out(slug: str, capture: Path) -> frozenset[int]:
    """Numbers of the frames (from 1) that `AT_ODDS` leaves out."""
    if slug not in AT_ODDS:
        return frozenset()
    packets = [captured.packet for captured in read_capture(capture)]
    odd = at_odds(packets)
    return frozenset(number for number, p in enumerate(packets, 1) if ends_of(p) in odd)


@pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed; make setup-servers installs it"
)
@pytest.mark.parametrize("slug", TAMPERED)
def test_triggers_of_a_run_are_found_by_the_rules_filter(slug: str, finished_run: FinishedRun) -> None:
    """Every packet that is marked as a rule's trigger is shown by that rule's filter, where it came to the box."""
    skip_without_servers(slug, postfix=False)
    run = finished_run(slug)
    captures = run.directory / "captures"
    options = (*ON_ANY_PORT, *PORTS.get(slug, ()))
    for rule in run.result["filters"]:
        if not rule["wireshark"] or f"{rule['profile']}/{rule['rule']}" in exempt_filters(slug):
            continue
        word = f"TRIGGER of rule {rule['profile']}/{rule['rule']} "
        for place, comes_in in COMES_IN.items():
            capture = captures / f"{place}.pcapng"
            comment = f'frame.comment contains "{word}" and {comes_in} and not {AGAIN}'
            marked = {number for number, _ in frames(capture, comment)} - left_out(slug, capture)
            assert marked <= {number for number, _ in frames(capture, rule["when"], *options)}, (
                rule,
                place,
            )
