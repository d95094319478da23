"""What set off a rule in a run, Wireshark finds in its captures by the rule's own filter."""

from __future__ import annotations

import shutil

import pytest

from scenarios.load import load_scenario, scenario_slugs
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.test_captures_in_wireshark import frames
from tests.e2e.test_scenarios import skip_without_servers

READ_OTHERWISE = ("tcp-knobs", "gfw-2024", "gfw-2017-resync")
"""Segments that overlap, overtake or contradict each other: boxes, and tshark, read them differently."""

TAMPERED = [
    slug
    for slug in scenario_slugs()
    if load_scenario(slug).truth == "tampered" and slug not in READ_OTHERWISE
]
ON_ANY_PORT = (
    *("-o", "tcp.try_heuristic_first:TRUE", "-o", "udp.try_heuristic_first:TRUE"),
    *("--enable-heuristic", "tls_tcp"),
    *("-d", "udp.port==17010,l2tp"),
)
"""Options of tshark that let it look for TLS, HTTP and BitTorrent on any port, as the box does, and for L2TP on the
lab's."""

UNSEEN = {
    ("tmobile-uk-2012-vpn", "drop-openvpn"): "tshark looks for OpenVPN on its usual port only",
    ("tmobile-uk-2012-vpn", "drop-pptp"): "tshark looks for PPTP on its usual port only",
    (
        "sandvine",
        "reset-both-on-bittorrent-handshake",
    ): "tshark knows no handshake whose first segment has 15 bytes",
}
"""(Profile, rule) -> why tshark cannot see all that the box sees."""

FROM_INSIDE = "(ip.src == 192.0.2.0/24 or ipv6.src == 2001:db8:1::/64)"
COMES_IN = {"box-inside": FROM_INSIDE, "box-outside": f"not {FROM_INSIDE}"}
"""Side of the box -> what comes in there, and has not been changed yet."""
AGAIN = "tcp.analysis.retransmission"
"""What is sent once more: tshark dissects it once, a box that looks at single packets does it each time."""


@pytest.mark.skipif(
    shutil.which("tshark") is None, reason="tshark is not installed; make setup-servers installs it"
)
@pytest.mark.parametrize("slug", TAMPERED)
def test_triggers_of_a_run_are_found_by_the_rules_filter(slug: str, finished_run: FinishedRun) -> None:
    """Every packet that is marked as a rule's trigger is shown by that rule's filter, where it came to the box."""
    skip_without_servers(slug, postfix=False)
    run = finished_run(slug)
    captures = run.directory / "captures"
    for rule in run.result["filters"]:
        if not rule["wireshark"] or (rule["profile"], rule["rule"]) in UNSEEN:
            continue
        word = f"TRIGGER of rule {rule['profile']}/{rule['rule']} "
        for place, comes_in in COMES_IN.items():
            capture = captures / f"{place}.pcapng"
            comment = f'frame.comment contains "{word}" and {comes_in} and not {AGAIN}'
            marked = {number for number, _ in frames(capture, comment)}
            assert marked <= {number for number, _ in frames(capture, rule["when"], *ON_ANY_PORT)}, (
                rule,
                place,
            )
