"""The resets of 20 August 2025 on the wire, against the published dump (catalogue section 1)."""

from __future__ import annotations

import pytest

from middlebox.packet import SYN, Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.delays import meant_delays_ms
from tests.e2e.fields.finished import FAMILIES, assert_bare

ON_SYN, ON_SYN_ACK = [1980, 1981, 1982], [3293, 3294, 3295]
AFTER_SYN_MS = 6.7
SLACK_MS = 20.0
"""For a busy machine: of twenty answers in 400 ms the soonest is no later than this (chosen)."""


def assert_three(packets: list[Packet], windows: list[int], seq: int, ack: int) -> None:
    """Three bare RST+ACKs with these windows, the same numbers, and TTLs one up each time."""
    assert [p.window for p in packets] == windows
    assert [flag_letters(p.flags) for p in packets] == ["RA"] * 3
    assert_bare(packets)
    assert {(p.seq, p.ack) for p in packets} == {(seq, ack)}
    assert [p.ttl - packets[0].ttl for p in packets] == [0, 1, 2]


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_443_answers_syn_and_syn_ack_with_three_each(finished_run: FinishedRun, family: int) -> None:
    """Windows 1980 to 1982 with sequence number 0, then 3293 to 3295 with the server's first; TTL one up each time."""
    connection = finished_run("gfw-443-2025").connection("https", family)
    packets = connection.forged("client")
    assert connection.forged("server") == []
    ack = connection.isn("client") + 1
    assert_three(packets[:3], ON_SYN, 0, ack)
    assert_three(packets[3:], ON_SYN_ACK, connection.isn("server") + 1, ack)


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_443_answers_the_syn_after_the_delay_of_the_dump(finished_run: FinishedRun, family: int) -> None:
    """6.7 ms are meant behind each of twenty SYNs; on the wire they are never fewer, and at best not many more."""
    run = finished_run("gfw-443-2025")
    meant_ms = meant_delays_ms(run)
    delays_ms = []
    for connection in run.connections("many-syns", family):
        [syn] = connection.seen_genuine("client")
        answers = connection.seen_forged("client")
        assert_three([seen.packet for seen in answers], ON_SYN, 0, syn.packet.seq + 1)
        assert {meant_ms[seen.packet.data] for seen in answers} == {AFTER_SYN_MS}
        delays_ms.append((answers[0].time_ns - syn.time_ns) / 1e6)
    assert len(delays_ms) == 20
    assert AFTER_SYN_MS <= min(delays_ms) <= AFTER_SYN_MS + SLACK_MS


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
    [syn_ack] = [p for p in answer.genuine("client") if p.flags & SYN]
    assert_three(answer.forged("server"), ON_SYN_ACK, syn_ack.seq + 1, syn_ack.ack)


@pytest.mark.parametrize(
    ("step", "port"),
    [("http", 80), ("port-1", 1), ("port-22", 22), ("port-72", 72), ("port-444", 444), ("port-8443", 8443)],
)
def test_gfw_443_lets_other_ports_alone(step: str, port: int, finished_run: FinishedRun) -> None:
    """1 to 72, 80, 444 and 8443 were not touched."""
    for family in FAMILIES:
        connection = finished_run("gfw-443-2025").connection(step, family)
        assert connection.ends.server_port == port
        assert connection.genuine("client")
        assert connection.forged("client") + connection.forged("server") == []
