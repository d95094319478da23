"""What set off a rule in a run, Wireshark finds in its captures by the rule's own filter."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scenarios.captures import read_capture
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.exempt import AT_ODDS, ON_ANY_PORT, PORTS, at_odds, ends_of, exempt_filters
from tests.e2e.fields.finished import INSIDE, is_from
from tests.e2e.shipped import SLUGS, shipped
from tests.e2e.test_scenarios import skip_without_servers
from tests.property.test_filters_oracle import tshark_on

TAMPERED = [slug for slug in SLUGS if shipped(slug).truth == "tampered"]

AGAIN = "tcp.analysis.retransmission"
"""What is sent once more: tshark dissects it once, a box that looks at single packets does it each time."""


@pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed; make setup-servers installs it"
)
@pytest.mark.parametrize("slug", TAMPERED)
@pytest.mark.parametrize(("place", "inside"), [("box-inside", True), ("box-outside", False)])
def test_triggers_of_a_run_are_found_by_the_rules_filter(
    slug: str, place: str, inside: bool, finished_run: FinishedRun, tmp_path: Path
) -> None:
    """Every packet that is marked as a rule's trigger is shown by that rule's filter, where it came to the box."""
    skip_without_servers(slug, postfix=False)
    run = finished_run(slug)
    rules = {
        f"{rule['profile']}/{rule['rule']}": " ".join(rule["when"].split())
        for rule in run.result["filters"]
        if rule["wireshark"] and f"{rule['profile']}/{rule['rule']}" not in exempt_filters(slug)
    }
    capture = run.directory / "captures" / f"{place}.pcapng"
    came = [c for c in read_capture(capture) if is_from(INSIDE, c.packet) is inside]
    if slug in AT_ODDS:
        odd = at_odds(c.packet for c in read_capture(capture))
        came = [c for c in came if ends_of(c.packet) not in odd]
    options = (*ON_ANY_PORT, *PORTS.get(slug, ()))
    repeated, *shown = tshark_on(capture, [AGAIN, *rules.values()], tmp_path, options)
    assert repeated is not None
    for rule, found in zip(rules, shown, strict=True):
        assert found is not None, f"tshark refuses {rules[rule]}"
        word = f"TRIGGER of rule {rule} "
        marked = {c.number - 1 for c in came if any(word in comment for comment in c.comments)}
        assert marked - {*repeated, *found} == set(), rule
