"""The RSTs of 2006 on the wire, against Clayton (catalogue sections 1, 11 and 13)."""

from __future__ import annotations

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, assert_bare
from tests.e2e.fields.sentence import assert_lasts, said_alone

RESIDUAL_S = 20 * 60
HOPS_NEARER = 8
BOTH_ENDS = ("client", "server")

everywhere = pytest.mark.parametrize("family", FAMILIES)


def threes(connection: Connection, towards: str) -> list[list[Packet]]:
    """All that was forged towards one end, in threes at s, s+1460 and s+4380; there is nothing else."""
    packets = connection.forged(towards)
    assert len(packets) % 3 == 0
    found = [packets[n : n + 3] for n in range(0, len(packets), 3)]
    for three in found:
        assert [p.seq - three[0].seq for p in three] == [0, 1460, 4380]
    return found


@everywhere
def test_clayton_2006_sends_three_resets_to_each_end(finished_run: FinishedRun, family: int) -> None:
    """Sequence numbers s, s+1460 and s+4380; towards the server s is the start of the GET. RST alone, nothing in it."""
    connection = finished_run("clayton-2006").connection("keyword", family)
    get = connection.first_data().packet
    start = {"client": get.ack, "server": get.seq}
    for towards in BOTH_ENDS:
        first, *_ = answers = threes(connection, towards)
        assert first[0].seq == start[towards]
        packets = [p for three in answers for p in three]
        assert {flag_letters(p.flags) for p in packets} == {"R"}
        assert_bare(packets)


@everywhere
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


@everywhere
def test_clayton_2006_delivers_what_it_answers(finished_run: FinishedRun, family: int) -> None:
    """The request reaches the server all the same, and so do the handshakes of those who are punished."""
    run = finished_run("clayton-2006")
    asked = run.at_host("web", run.connection("keyword", family))
    assert any(p.payload.startswith(b"GET /?falun ") for p in asked)
    for step in ("first-of-block", "last-of-block"):
        begun = run.at_host("web", run.connection(step, family))
        assert any(flag_letters(p.flags) == "S" for p in begun)


@everywhere
@pytest.mark.parametrize(("step", "port"), [("first-of-block", 39936), ("last-of-block", 40063)])
def test_clayton_2006_punishes_both_ends_over_a_block_of_128_ports(
    step: str, port: int, family: int, finished_run: FinishedRun
) -> None:
    """The block of port 40000 goes from 39936 to 40063, whatever is asked for; both ends get their threes."""
    connection = finished_run("clayton-2006").connection(step, family)
    assert connection.ends.client_port == port
    for towards in BOTH_ENDS:
        assert threes(connection, towards)


@everywhere
@pytest.mark.parametrize(
    ("step", "port"),
    [("block-before", 39935), ("next-block", 40064), ("other-client", 40001), ("other-server", 40003)],
)
def test_clayton_2006_punishes_no_other_ports_and_hosts(
    step: str, port: int, family: int, finished_run: FinishedRun
) -> None:
    """The ports beside the block, another client and another server, while the two are punished."""
    run = finished_run("clayton-2006")
    connection = run.connection(step, family)
    assert connection.ends.client_port == port
    assert connection.forged("client") + connection.forged("server") == []
    answered = run.connection("keyword", family).seen_forged("client")[0].time_ns
    began = connection.seen_genuine("client")[0].time_ns
    assert 0 < (began - answered) / 1e9 < RESIDUAL_S * run.result["time_scale"]


@everywhere
def test_clayton_2006_punishes_for_twenty_minutes_and_no_longer(
    finished_run: FinishedRun, family: int
) -> None:
    """SYNs in between are answered and do not start the time anew."""
    run = finished_run("clayton-2006")
    connection = run.connection("timer", family)
    answers = {three[0].seq for three in threes(connection, "server")}
    tries = [(seen, (seen.packet.seq + 1) & 0xFFFFFFFF in answers) for seen in said_alone(connection)]
    assert_lasts(connection, RESIDUAL_S * run.result["time_scale"], tries)
    forgiven = run.connection("forgiven", family)
    assert forgiven.forged("client") + forgiven.forged("server") == []


@pytest.mark.parametrize("step", ["two-segments", "other-word"])
def test_clayton_2006_looks_at_single_packets(step: str, finished_run: FinishedRun) -> None:
    """The word cut in two, and other words, pass."""
    for family in FAMILIES:
        connection = finished_run("clayton-2006").connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
