"""The RSTs of 2006 on the wire, against Clayton (catalogue sections 1, 11 and 13)."""

from __future__ import annotations

import pytest

from middlebox.packet import flag_letters
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, assert_bare

RESIDUAL_S, TIME_SCALE = 20 * 60, 0.001
HOPS_NEARER = 8


@pytest.mark.parametrize("family", FAMILIES)
def test_clayton_2006_sends_three_resets_to_each_end(finished_run: FinishedRun, family: int) -> None:
    """Sequence numbers s, s+1460 and s+4380; towards the server s is the start of the GET. RST alone, nothing in it."""
    connection = finished_run("clayton-2006").connection("keyword", family)
    get = connection.first_data().packet
    start = {"client": get.ack, "server": get.seq}
    for towards in ("client", "server"):
        packets = connection.forged(towards)[:3]
        assert [p.seq - start[towards] for p in packets] == [0, 1460, 4380]
        assert {flag_letters(p.flags) for p in packets} == {"R"}
        assert_bare(packets)


@pytest.mark.parametrize("family", FAMILIES)
def test_clayton_2006_resets_come_before_the_reply_from_eight_hops_nearer(
    finished_run: FinishedRun, family: int
) -> None:
    """The client's own capture shows it: TTL 8 higher than that of the server's packets, and no answer before."""
    run = finished_run("clayton-2006")
    connection = run.connection("keyword", family)
    arrived = [p for p in run.at_host("sim1", connection) if p.sport == 80]
    reset = next(n for n, p in enumerate(arrived) if flag_letters(p.flags) == "R")
    assert all(not p.payload for p in arrived[:reset])
    syn_ack = arrived[0]
    assert arrived[reset].ttl - syn_ack.ttl == HOPS_NEARER
    assert len({p.ttl for p in connection.forged("client")}) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_clayton_2006_residual_is_by_hosts_and_block_of_128_ports(
    finished_run: FinishedRun, family: int
) -> None:
    """Twenty minutes: ports of the block are hit, whatever they ask for; the next block and other hosts are not."""
    run = finished_run("clayton-2006")
    for step in ("same-block", "same-block-other-port"):
        assert run.connection(step, family).ends.client_port // 128 == 40000 // 128
        assert run.connection(step, family).forged("client")
    for step in ("next-block", "other-client", "forgiven"):
        assert run.connection(step, family).forged("client") == []
    assert run.connection("next-block", family).ends.client_port == 40064
    answered = run.connection("keyword", family).seen_forged("client")[0].time_ns
    forgiven = run.connection("forgiven", family).seen_genuine("client")[0].time_ns
    assert forgiven - answered >= RESIDUAL_S * TIME_SCALE * 1e9


@pytest.mark.parametrize("step", ["two-segments", "other-word"])
def test_clayton_2006_looks_at_single_packets(step: str, finished_run: FinishedRun) -> None:
    """The word cut in two, and other words, pass."""
    for family in FAMILIES:
        connection = finished_run("clayton-2006").connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
