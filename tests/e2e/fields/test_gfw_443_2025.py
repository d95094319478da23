"""The resets of 20 August 2025 on the wire, against the published dump (catalogue section 1)."""

from __future__ import annotations

import pytest

from middlebox.packet import SYN, flag_letters
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, assert_bare

ON_SYN, ON_SYN_ACK = [1980, 1981, 1982], [3293, 3294, 3295]
AFTER_SYN_MS = 6.7
SLACK_MS = 200.0
"""For a busy machine: a forgery can leave late, never early (chosen)."""


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_443_answers_syn_and_syn_ack_with_three_each(finished_run: FinishedRun, family: int) -> None:
    """Windows 1980 to 1982 with sequence number 0, then 3293 to 3295 with the server's first; TTL one up each time."""
    connection = finished_run("gfw-443-2025").connection("https", family)
    packets = connection.forged("client")
    assert connection.forged("server") == []
    assert [p.window for p in packets] == ON_SYN + ON_SYN_ACK
    assert {flag_letters(p.flags) for p in packets} == {"RA"}
    assert_bare(packets)
    assert [p.seq for p in packets] == [0] * 3 + [connection.isn("server") + 1] * 3
    assert {p.ack for p in packets} == {connection.isn("client") + 1}
    for group in (packets[:3], packets[3:]):
        assert [p.ttl - group[0].ttl for p in group] == [0, 1, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_443_answers_the_syn_after_the_delay_of_the_dump(finished_run: FinishedRun, family: int) -> None:
    """6.7 ms, never sooner."""
    connection = finished_run("gfw-443-2025").connection("https", family)
    syn = next(s for s in connection.seen_genuine("client") if s.packet.flags & SYN)
    delay_ms = (connection.seen_forged("client")[0].time_ns - syn.time_ns) / 1e6
    assert AFTER_SYN_MS <= delay_ms <= AFTER_SYN_MS + SLACK_MS


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_443_from_outside_answers_only_the_syn_ack(finished_run: FinishedRun, family: int) -> None:
    """A SYN to a subscriber's port 443 passes in peace; what the subscriber answers draws three, outwards."""
    run = finished_run("gfw-443-2025")
    inward = run.connection("syn-from-outside", family)
    assert [flag_letters(p.flags) for p in inward.genuine("client")][:1] == ["S"]
    assert inward.forged("client") + inward.forged("server") == []
    # The step's own end is the subscriber, who answers: the connection's client is its other end.
    answer = run.connection("syn-ack-to-outside", family)
    assert answer.forged("client") == []
    packets = answer.forged("server")
    assert [p.window for p in packets] == ON_SYN_ACK
    [syn_ack] = [p for p in answer.genuine("client") if p.flags & SYN]
    assert {(p.seq, p.ack) for p in packets} == {(syn_ack.seq + 1, syn_ack.ack)}


@pytest.mark.parametrize("step", ["http", "port-444", "port-8443", "port-22"])
def test_gfw_443_lets_other_ports_alone(step: str, finished_run: FinishedRun) -> None:
    """22, 80, 444 and 8443 were not touched."""
    for family in FAMILIES:
        connection = finished_run("gfw-443-2025").connection(step, family)
        assert connection.genuine("client")
        assert connection.forged("client") + connection.forged("server") == []
