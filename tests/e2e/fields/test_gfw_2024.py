"""The three injectors on the wire, against the fingerprint table of SP25 (catalogue sections 1, 2.1, 2.3 and 3)."""

from __future__ import annotations

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Run, assert_bare

HOPS = 6
"""TTLs were published as the client saw them, which is behind so many routers."""
MIN_MS, MAX_MS = 11.53, 445.39
SLACK_MS = 200.0
"""For a busy machine: a forgery can leave late, never early (chosen)."""
RESIDUAL_S, TIME_SCALE = 180, 0.015


def injected(run: Run, family: int, towards: str) -> dict[str, list[Packet]]:
    """All forged packets of the run by injector: the first has RST alone; of the others the third has TTL 254."""
    found: dict[str, list[Packet]] = {"I": [], "II": [], "III": []}
    for step in ("sni", "host", "two-segments", "syn-only", "punished"):
        for connection in run.connections(step, family):
            for p in connection.forged(towards):
                flags = flag_letters(p.flags)
                assert flags in ("R", "RA")
                found["I" if flags == "R" else "III" if p.ttl == 254 else "II"].append(p)
    return found


@pytest.mark.parametrize("towards", ["client", "server"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2024_injectors_have_their_flags_ids_df_and_ttls(
    finished_run: FinishedRun, family: int, towards: str
) -> None:
    """Each field of the table, towards either end; no options, no payload."""
    by_injector = injected(finished_run("gfw-2024"), family, towards)
    seen_ttls = {"I": (55, 118), "II": (39, 238), "III": (248, 248)}
    ids = {"I": (0, 0), "II": (0x00A3, 0xFE5F), "III": (0x9916, 0x9933)}
    for injector, packets in by_injector.items():
        assert_bare(packets)
        low, high = seen_ttls[injector]
        assert all(low <= p.ttl - HOPS <= high for p in packets)
        assert all(p.window for p in packets)
        if family == 4:
            low, high = ids[injector]
            assert all(low <= (p.ip_id or 0) <= high for p in packets)
            assert {p.dont_fragment for p in packets} == {injector == "II"}
    assert len({p.ttl for p in by_injector["II"]}) > 5
    assert len({p.ttl for p in by_injector["I"]}) > 5


@pytest.mark.parametrize("towards", ["client", "server"])
@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2024_second_injector_sends_three_identical_packets(
    finished_run: FinishedRun, family: int, towards: str
) -> None:
    """Duplicate and identical, with the numbers that the receiver expects; nothing else comes twice."""
    run = finished_run("gfw-2024")
    connection = run.connection("syn-only", family)
    packets = connection.forged(towards)
    three = [p for p in packets if flag_letters(p.flags) == "RA" and p.ttl != 254]
    assert len(three) == 3
    assert three[0].data == three[1].data == three[2].data
    hello = connection.first_data().packet
    behind = hello.seq + len(hello.payload)
    if towards == "client":
        assert {(p.seq, p.ack) for p in packets if p.flags & 0x10} == {(hello.ack, behind)}
    else:
        assert {p.seq for p in packets} == {behind}
    assert len(packets) - 3 <= 2


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2024_delay_is_within_what_was_measured(finished_run: FinishedRun, family: int) -> None:
    """From ClientHello to first RST: never before the shortest delay that was measured, nor after the longest."""
    delays_ms = []
    for step in ("host", "two-segments", "syn-only"):
        connection = finished_run("gfw-2024").connection(step, family)
        hello = [s for s in connection.seen_genuine("client") if s.packet.payload][int("two" in step)]
        delays_ms.append((connection.seen_forged("client")[0].time_ns - hello.time_ns) / 1e6)
    assert min(delays_ms) >= MIN_MS
    assert max(delays_ms) <= MAX_MS + SLACK_MS


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2024_residual_is_three_tuple_and_ends(finished_run: FinishedRun, family: int) -> None:
    """180 s on client, server, server port: another name is hit; other ports and clients, and later, are not."""
    run = finished_run("gfw-2024")
    assert run.connection("punished", family).forged("client")
    assert run.connection("punished", family).forged("server")
    for step in ("other-port", "other-client", "forgiven"):
        connection = run.connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
    answered = min(c.seen_forged("client")[0].time_ns for c in run.connections("sni", family))
    forgiven = run.connection("forgiven", family).seen_genuine("client")[0].time_ns
    assert forgiven - answered >= RESIDUAL_S * TIME_SCALE * 1e9 - MAX_MS * 1e6


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2024_needs_a_syn_and_joins_segments_but_not_records(
    finished_run: FinishedRun, family: int
) -> None:
    """A name cut into two segments is seen, cut into two TLS records it is not; without a SYN nothing is."""
    run = finished_run("gfw-2024")
    for step, is_seen in (
        ("two-segments", True),
        ("syn-only", True),
        ("two-records", False),
        ("no-syn", False),
    ):
        connection = run.connection(step, family)
        assert bool(connection.forged("client")) is is_seen
        assert bool(connection.forged("server")) is is_seen
