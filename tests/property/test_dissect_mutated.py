"""Real packets with mistakes in them: bits turned over, bytes lost, doubled, replaced, lengths made extreme.

Every packet of every capture of tests/data/dissect is the stock; flows are fed in order, so that mistakes meet every
state a dissector can be in: each flow begins with packets as they were. Only spoilt ones count. What is inside QUIC
Initials is spoilt before it is sealed, else a tag would notice.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from random import Random

import pytest

from middlebox.dissect import ALL_FIELDS, Dissector, Fields, FieldType
from middlebox.dissect.quic import QuicDissector, quic_plan
from middlebox.flow import Direction
from tests.property.mutation import mutated
from tests.unit.dissect_kit import Sent, capture_names, dissector_of, packets_of
from tests.unit.quic_bytes import crypto, initial
from tests.unit.tls_bytes import client_hello

KINDS = {
    FieldType.UINT: int,
    FieldType.BOOL: bool,
    FieldType.STRING: str,
    FieldType.BYTES: bytes,
    FieldType.IPV4: bytes,
    FieldType.IPV6: bytes,
}
PROTOCOLS = ("dns", "tls", "quic", "http", "smtp", "others")
"""Each has a quota of its own. Its captures are called after it, those of the others after none of these."""


def protocol_of(capture: str) -> str:
    """Which quota a capture belongs to: dialogue-smtp-auth.pcap to that of smtp."""
    words = capture.removesuffix(".pcap").split("-")
    return next((name for name in PROTOCOLS if name in words), "others")


def flows(protocol: str) -> list[list[Sent]]:
    """The packets with payload of each flow of each capture of a protocol."""
    found = []
    for capture in capture_names():
        if protocol_of(capture) == protocol:
            packets = sorted((p for p in packets_of(capture) if p.payload), key=lambda packet: packet.flow)
            found += [list(packets) for _, packets in groupby(packets, key=lambda packet: packet.flow)]
    return found


def check(fields: Fields, dissector: Dissector) -> None:
    """Only known fields, each with values of its type."""
    for name, values in fields.items():
        kind = KINDS[ALL_FIELDS[name].type]
        assert values, name
        assert all(type(value) is kind for value in values), (name, values, dissector.protocol)
        if ALL_FIELDS[name].type is FieldType.UINT:
            assert all(0 <= int(value) < 1 << 64 for value in values), (name, values)


def feed_mutated(random: Random, stock: list[list[Sent]], count: int) -> Counter[str]:
    """Feed packets until `count` have been spoilt. How many were, as "spoilt", and how often each field was found."""
    found: Counter[str] = Counter()
    while found["spoilt"] < count:
        flow = random.choice(stock)
        dissector = dissector_of(flow[0])
        assert dissector is not None
        spare = random.randrange(len(flow) + 1)  # up to here all is well
        for number, packet in enumerate(flow):
            data = packet.payload
            if number >= spare and random.random() < 0.9:
                data = mutated(random, data)
                found["spoilt"] += 1
            direction = packet.direction if random.random() < 0.95 else packet.direction.opposite
            if random.random() < 0.02:
                dissector.restart(direction)
            fields: Fields = {}
            dissector.feed(direction, data, fields)
            check(fields, dissector)
            found.update(fields.keys())
            if found["spoilt"] == count or dissector.alive == (frozenset(), frozenset()):
                break
    return found


def assert_read(found: Counter[str], protocol: str, count: int) -> None:
    """So many were spoilt, and the protocol's own dissector has read among them."""
    assert found["spoilt"] == count
    own = "imap" if protocol == "others" else protocol
    assert any(name.partition(".")[0] == own for name in found), found


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_mutated_packets_raise_nothing(protocol: str) -> None:
    """Two thousand spoilt packets of each protocol: no exception, only known fields, values of their types."""
    assert_read(feed_mutated(Random(protocol), flows(protocol), 2_000), protocol, 2_000)


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_forty_thousand_mutated_packets_of_each_protocol_raise_nothing(protocol: str) -> None:
    """The same with 40,000 each: 200,000 of DNS, TLS, QUIC, HTTP and SMTP, and 40,000 of all the others."""
    assert_read(feed_mutated(Random(f"deep {protocol}"), flows(protocol), 40_000), protocol, 40_000)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_real_packets_to_spoil(protocol: str) -> None:
    """A quota of nothing would be reached at once, and one without its own protocol would prove nothing."""
    assert sum(len(flow) for flow in flows(protocol)) >= 40
    assert all(dissector_of(flow[0]) is not None for flow in flows(protocol))


def spoil_initials(random: Random, count: int) -> int:
    """Initials whose frames or hello are spoilt under the seal; how many were opened."""
    opened = 0
    hello = client_hello("web.example")
    for number in range(count):
        if number % 8 == 0:
            dissector = QuicDissector(quic_plan(None))
        cut = random.randrange(len(hello))
        payload = crypto(0, hello[:cut]) + crypto(cut, hello[cut:]) + b"\x02\x05\x00\x00\x00" + bytes(20)
        payload = mutated(random, payload).ljust(4, b"\x00")
        direction = random.choice(list(Direction))
        sender = "server" if direction else "client"
        fields: Fields = {}
        dissector.feed(direction, initial(payload, sender=sender, number=number % 8), fields)
        check(fields, dissector)
        opened += "quic.packet_number" in fields
    return opened


def test_spoilt_initials_raise_nothing() -> None:
    """Two thousand opened Initials with mistakes in their frames and hellos."""
    assert spoil_initials(Random(7), 2_000) > 1_000


@pytest.mark.deep
def test_many_spoilt_initials_raise_nothing() -> None:
    """The same with 40,000."""
    assert spoil_initials(Random(8), 40_000) > 20_000
