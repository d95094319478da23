"""Whatever comes from the wire: one Decision each, no exception, bounded memory."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, strategies as st

from middlebox.decision import Decision, Verdict
from middlebox.engine import Engine
from middlebox.filters import compile_filter
from middlebox.flow import Side
from middlebox.look import Look
from middlebox.packet import decode
from middlebox.profile import (
    Deployment,
    Drop,
    DropScope,
    KeyPart,
    Overlap,
    Phase,
    Placement,
    Profile,
    Reassembly,
    Reset,
    Residual,
    Rule,
    SecondSyn,
    StateFrom,
    TcpReading,
    Towards,
)
from tests.property.packet_soup import packets

RESET = Reset(Towards.BOTH, Look())

WHENS = (
    'smtp.command_line matches "^STARTTLS"',
    'tls.handshake.extensions_server_name contains "blocked"',
    'tcp.payload contains "ultrasurf"',
    'tcp.payload matches "a.*z"',
    'imap.request.command == "STARTTLS" or pop.request.command == "STLS"',
    "tcp.flags.syn == 1 and tcp.dstport == 443",
    "udp.payload[0:2] == 00:01 or icmp or payload.entropy > 7",
    "tls.record.content_type == 21",
)

READINGS = (
    TcpReading(),
    TcpReading(reassembly=Reassembly.NONE, checks_data_offset=False),
    TcpReading(
        reassembly=Reassembly.IN_ORDER, state_from=StateFrom.SYN, checks_checksum=True, ends_on_fin=True
    ),
    TcpReading(overlap=Overlap.LAST, handshake=True, checks_ack=True, buffer_bytes=200, max_flows=50),
    TcpReading(state_from=StateFrom.SYNACK, ends_on_rst=False, max_flows=5, join_tls_records=False),
    TcpReading(second_syn=SecondSyn.RESYNC, resync_on_rst=0.5, resync_on_refusal=1.0),
    TcpReading(state_from=StateFrom.SYN, second_syn=SecondSyn.IGNORED),
)


def engine_for(reading: TcpReading, placement: Placement = Placement.IN_PATH) -> Engine:
    residual = Residual((KeyPart.INSIDE_IP, KeyPart.SERVER_PORT), 1_000_000, True, (RESET,), capacity=10)
    actions = ((RESET,), (Drop(), RESET), (Drop(DropScope.FLOW),), (Drop(DropScope.DIRECTION), RESET))
    if placement is Placement.ON_PATH:
        actions = ((RESET,),) * 4
    rules = tuple(
        Rule(
            f"rule-{n}", compile_filter(when), actions[n % 4], 0.5, residual=residual if n % 3 == 0 else None
        )
        for n, when in enumerate(WHENS)
    )
    profile = Profile("soup", "", placement, rules, reading)
    return Engine(Deployment("soup", (Phase(0, profile),)), Random(1), 0)


def feed_soup(engine: Engine, count: int, seed: int) -> int:
    forged = 0
    for number, (data, side) in enumerate(packets(count, seed)):
        now_ns = number * 10_000
        engine.advance(now_ns)
        decision = engine.handle(data, now_ns, side)
        assert type(decision) is Decision
        assert decision.verdict in Verdict
        for one in decision.forged:
            assert decode(one.data) is not None
        for event in decision.events:
            event.as_json()
        forged += len(decision.forged)
    return forged


@pytest.mark.parametrize("reading", READINGS, ids=range(len(READINGS)))
def test_engine_any_packet_gets_one_decision(reading: TcpReading) -> None:
    """Broken packets of every kind, under every way to read TCP: a verdict each, and the rules still fire."""
    engine = engine_for(reading)
    assert feed_soup(engine, 4_000, seed=11) > 0
    assert engine.flows <= reading.max_flows


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("reading", READINGS, ids=range(len(READINGS)))
def test_engine_forty_thousand_packets_each_get_one_decision(reading: TcpReading) -> None:
    """The same with 40,000 packets for each of the seven ways to read TCP: 280,000 in all."""
    assert feed_soup(engine_for(reading), 40_000, seed=12) > 0


@pytest.mark.parametrize("reading", READINGS, ids=range(len(READINGS)))
def test_on_path_box_lets_every_packet_pass(reading: TcpReading) -> None:
    """An on-path box accepts whatever comes, unchanged."""
    engine = engine_for(reading, Placement.ON_PATH)
    for number, (data, side) in enumerate(packets(2_000, seed=13)):
        assert engine.handle(data, number, side).verdict is Verdict.ACCEPT


@given(data=st.binary(max_size=200), side=st.sampled_from(Side))
def test_engine_random_bytes_get_one_decision(data: bytes, side: Side) -> None:
    """Pure noise is not an exception either."""
    engine = engine_for(replace(READINGS[0], max_flows=10))
    assert type(engine.handle(data, 1, side)) is Decision
