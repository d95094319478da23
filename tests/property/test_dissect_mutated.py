"""Real packets with mistakes in them: bits turned over, bytes lost, doubled, replaced, lengths made extreme.

Every packet of every capture of tests/data/dissect is the stock; flows are fed in order, so that mistakes meet every
state a dissector can be in. What is inside QUIC Initials is spoilt before it is sealed, else a tag would notice.
"""

from __future__ import annotations

from itertools import groupby
from random import Random

import pytest

from middlebox.dissect import ALL_FIELDS, Dissector, Fields, FieldType
from middlebox.dissect.quic import QuicDissector, quic_plan
from middlebox.flow import Direction
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
EXTREMES = (
    b"\x00",
    b"\xff",
    b"\x00\x00",
    b"\xff\xff",
    b"\x00\xff",
    b"\x7f\xff",
    b"\xc0\x0c",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
)


def flows() -> list[list[Sent]]:
    """The packets with payload of each flow of each capture."""
    found = []
    for capture in capture_names():
        packets = sorted((p for p in packets_of(capture) if p.payload), key=lambda packet: packet.flow)
        found += [list(packets) for _, packets in groupby(packets, key=lambda packet: packet.flow)]
    return found


def mutated(random: Random, data: bytes) -> bytes:
    """The same bytes with one to three mistakes."""
    spoilt = bytearray(data)
    for _ in range(random.randint(1, 3)):
        # Headers stand at the front, and that is where a mistake tells.
        at = random.randrange(min(len(spoilt), random.choice((16, 64, 2000))) or 1)
        what = random.random()
        if what < 0.4 and spoilt:
            spoilt[at] ^= 1 << random.randrange(8)
        elif what < 0.6:
            extreme = random.choice(EXTREMES)
            spoilt[at : at + len(extreme)] = extreme
        elif what < 0.75:
            del spoilt[at : at + random.randint(1, 40)]
        elif what < 0.9:
            spoilt[at:at] = spoilt[at : at + random.randint(1, 40)]
        else:
            del spoilt[at:]
    return bytes(spoilt)


def check(fields: Fields, dissector: Dissector) -> None:
    """Only known fields, each with values of its type."""
    for name, values in fields.items():
        kind = KINDS[ALL_FIELDS[name].type]
        assert values, name
        assert all(type(value) is kind for value in values), (name, values, dissector.protocol)
        if ALL_FIELDS[name].type is FieldType.UINT:
            assert all(0 <= int(value) < 1 << 64 for value in values), (name, values)


def feed_mutated(random: Random, stock: list[list[Sent]], count: int) -> int:
    """Feed `count` packets, of which nine in ten are spoilt; how many fields were found."""
    fed = found = 0
    while fed < count:
        flow = random.choice(stock)
        dissector = dissector_of(flow[0])
        if dissector is None:
            continue
        spare = random.randrange(len(flow) + 1)  # up to here all is well
        for number, packet in enumerate(flow):
            data = (
                packet.payload if number < spare or random.random() < 0.1 else mutated(random, packet.payload)
            )
            direction = packet.direction if random.random() < 0.95 else packet.direction.opposite
            if random.random() < 0.02:
                dissector.restart(direction)
            fields: Fields = {}
            dissector.feed(direction, data, fields)
            check(fields, dissector)
            fed += 1
            found += len(fields)
            if dissector.alive == (frozenset(), frozenset()):
                break
    return found


@pytest.mark.parametrize("seed", range(4))
def test_mutated_packets_raise_nothing(seed: int) -> None:
    """Four times 2,500 spoilt packets of all protocols: no exception, only known fields, values of their types."""
    assert feed_mutated(Random(seed), flows(), 2_500) > 0


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(4))
def test_two_hundred_thousand_mutated_packets_raise_nothing(seed: int) -> None:
    """The same with 60,000 packets each, 240,000 in all."""
    assert feed_mutated(Random(1000 + seed), flows(), 60_000) > 0


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
    """The same with 20,000."""
    assert spoil_initials(Random(8), 20_000) > 10_000
