"""Real packets with mistakes in them, past the whole box with each shipped profile: one Decision each, no exception.

The captures of tests/data/dissect are what is sent, connection by connection as they were. A payload is spoilt and its
packet made whole again around it, lengths and checksums right, so that the mistake comes as far as a dissector; or the
packet is spoilt from its IP header on.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from random import Random
from typing import NamedTuple

import pytest

from middlebox import packet as wire
from middlebox.decision import Decision, Verdict
from middlebox.engine import Engine
from middlebox.flow import Direction, Side
from middlebox.load import load_deployment, profile_names
from middlebox.profile import Placement
from tests.property.mutation import mutated
from tests.unit.dissect_kit import capture_names, ip_packets_of, packets_of

STEP_NS = 10_000_000
"""Between packets (chosen): half a minute of a box's life in three thousand of them, so that it also forgets."""


class Sent(NamedTuple):
    data: bytes
    side: Side


@cache
def captures() -> list[list[Sent]]:
    """The packets of each capture from the IP header on, with the client inside."""
    found = []
    for name in capture_names():
        sides = [
            Side.INSIDE if packet.direction is Direction.CLIENT_TO_SERVER else Side.OUTSIDE
            for packet in packets_of(name)
        ]
        found.append([Sent(data, side) for data, side in zip(ip_packets_of(name), sides, strict=True)])
    return found


def with_payload(data: bytes, payload: bytes) -> bytes:
    """The same packet around another payload; lengths and checksums are right, as its sender would have them."""
    p = wire.decode(data)
    assert p is not None
    head = bytearray(data[: p.payload_start])
    if p.protocol in (wire.PROTOCOL_TCP, wire.PROTOCOL_UDP):
        at = p.l4 + (16 if p.protocol == wire.PROTOCOL_TCP else 6)
        if p.protocol == wire.PROTOCOL_UDP:
            head[p.l4 + 4 : p.l4 + 6] = (8 + len(payload)).to_bytes(2, "big")
        head[at : at + 2] = b"\0\0"
        checksum = wire.transport_checksum(p.src, p.dst, p.protocol, bytes(head[p.l4 :]) + payload)
        head[at : at + 2] = checksum.to_bytes(2, "big")
    length_at, length = (2, len(head)) if p.version == 4 else (4, len(head) - 40)
    head[length_at : length_at + 2] = (length + len(payload)).to_bytes(2, "big")
    return wire.with_ttl(bytes(head) + payload, p.ttl)  # the checksum of an IPv4 header with it


def spoilt(random: Random, data: bytes) -> bytes:
    """The packet with a mistake: in nine of ten inside, else anywhere."""
    p = wire.decode(data)
    assert p is not None
    if not p.payload or random.random() < 0.1:
        return mutated(random, data)
    return with_payload(data, mutated(random, p.payload)[:60_000])


def feed_spoilt(engine: Engine, placement: Placement, random: Random, count: int) -> Counter[str]:
    """Show the box packets until `count` spoilt ones were among them; how many were, and how often rules matched."""
    found: Counter[str] = Counter()
    now_ns = 0
    while found["spoilt"] < count:
        capture = random.choice(captures())
        spare = random.randrange(len(capture))
        for number, (original, side) in enumerate(capture):
            data = original
            if number >= spare and random.random() < 0.5:
                data = spoilt(random, original)
                found["spoilt"] += 1
            now_ns += STEP_NS
            events = engine.advance(now_ns)
            decision = engine.handle(data, now_ns, side)
            assert type(decision) is Decision
            assert placement is Placement.IN_PATH or decision.verdict is Verdict.ACCEPT
            assert all(wire.decode(forged.data) is not None for forged in decision.forged)
            assert decision.replacement is None or wire.decode(decision.replacement) is not None
            for event in (*events, *decision.events):
                event.as_json()
                found[event.kind] += 1
    return found


def assert_survives(profile: str, count: int, seed: int) -> Counter[str]:
    box = load_deployment(profile)
    [only] = box.profiles()
    engine = Engine(box, Random(seed), 0)
    found = feed_spoilt(engine, only.placement, Random(f"{profile} {seed}"), count)
    assert found["spoilt"] >= count
    assert found["engine_error"] == 0
    assert engine.flows <= only.tcp.max_flows
    return found


@pytest.mark.parametrize("profile", profile_names())
def test_shipped_box_answers_every_spoilt_packet(profile: str) -> None:
    """Five hundred mistakes past each: a verdict every time, what is forged can be read, and on-path all passes."""
    assert_survives(profile, 500, seed=1)


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("profile", profile_names())
def test_shipped_box_answers_five_thousand_spoilt_packets(profile: str) -> None:
    """The same with 5,000 for each profile: more than 200,000 in all."""
    assert len(profile_names()) * 5_000 >= 200_000
    assert_survives(profile, 5_000, seed=2)


@pytest.mark.parametrize("profile", ["tmobile-uk-2012", "pix-mailguard", "tmobile-uk-2012-vpn"])
def test_spoilt_packets_still_set_boxes_off(profile: str) -> None:
    """The mistakes come as far as rules do: where the captures hold what a box waits for, it acts among them."""
    assert assert_survives(profile, 500, seed=3)["rule_matched"] > 0


def test_packet_made_whole_again_is_as_its_sender_had_it() -> None:
    """With its own payload every packet of every capture comes out as it was, where its checksum was right at all."""
    for data, _ in (sent for capture in captures() for sent in capture):
        p = wire.decode(data)
        assert p is not None
        ports = p.protocol in (wire.PROTOCOL_TCP, wire.PROTOCOL_UDP)
        if p.has_transport_header and (not ports or (p.transport_checksum and wire.checksum_is_right(p))):
            assert with_payload(data, p.payload) == data[: p.end]
