"""What is promised of `may_match` and of the selectors, for generated filters and flows."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given, strategies as st

from middlebox.dissect import ALL_FIELDS, Fields, Value, field_group
from middlebox.filters import Origin, Selector, compile_filter
from middlebox.filters.fields import OVER_IP, OVER_TCP, OVER_UDP
from middlebox.flow import Direction, Side
from middlebox.packet import Packet
from tests.property.filter_soup import PAYLOADS, PORTS, TEXTS, V4, V6, FilterSoup
from tests.unit.filter_kit import Flow, tcp, udp

FLOW_PACKETS = 6
SEEDS = st.integers(min_value=0, max_value=2**32)


def values(random: Random, name: str) -> list[Value]:
    """What a dissector may have found: one to three values of the field's type."""
    pool: list[Value] = {
        "UINT": [0, 1, 2, 22, 250], "BOOL": [True], "STRING": list(TEXTS), "BYTES": [b"", b"\x16\x03", b"ABC"],
        "IPV4": [bytes([192, 0, 2, 11])], "IPV6": [bytes(16)],
    }[ALL_FIELDS[name].type.name]  # fmt: skip
    return [random.choice(pool) for _ in range(random.randint(1, 3))]


def dissected(random: Random, direction: Direction, *, over_tcp: bool) -> Fields:
    """Fields of a packet with payload, only such as its end sends over this transport."""
    elsewhere = (OVER_UDP if over_tcp else OVER_TCP) | OVER_IP.keys()
    names = [
        name
        for name, spec in ALL_FIELDS.items()
        if spec.sent_by in (None, direction) and name.partition(".")[0] not in elsewhere
    ]
    return {name: values(random, name) for name in random.sample(names, random.randint(0, 8))}


def one_direction(random: Random) -> list[tuple[Packet, Flow, Fields]]:
    """Packets of one flow and direction, in order, with what the engine knows at each."""
    over_tcp = random.random() < 0.8
    addresses = dict(zip(("src", "dst"), random.choices(random.choice([V4, V6]), k=2), strict=True))
    ports = {"sport": random.choice(PORTS), "dport": random.choice(PORTS)}
    flow = Flow(
        random.choice(list(Direction)), random.choice(list(Side)), subscriber=random.choice(["", "sim1"])
    )
    found = []
    for _ in range(FLOW_PACKETS):
        payload = random.choice(PAYLOADS)
        packet = (
            tcp(payload, **addresses, **ports, flags=random.randrange(512), ttl=random.choice([1, 64, 255]))
            if over_tcp
            else udp(payload, **ports)
        )
        flow = replace(
            flow, packets=flow.packets + random.choice([1, 20]), bytes=flow.bytes + len(packet.data)
        )
        fields = dissected(random, flow.direction, over_tcp=over_tcp) if payload else {}
        found.append((packet, flow, fields))
    return found


def filters(random: Random) -> str:
    return FilterSoup(random, Origin.HEADER, Origin.OWN, Origin.DISSECTED).filter(depth=3)


@given(SEEDS)
def test_flow_that_matches_later_was_never_given_up(seed: int) -> None:
    """When a packet matches, may_match was true for it and for every packet before it."""
    random = Random(seed)
    for _ in range(8):
        text, packets = filters(random), one_direction(random)
        compiled = compile_filter(text)
        for last, (packet, flow, fields) in enumerate(packets):
            if not compiled.matches(packet, flow, fields):
                continue
            for first in range(last + 1):
                still = {field_group(name) for _, _, later in packets[first:] for name in later}
                earlier, then, _ = packets[first]
                assert compiled.may_match(earlier, then, frozenset(still)), text


@given(SEEDS)
def test_packet_that_matches_passes_a_selector(seed: int) -> None:
    """The kernel, told the selectors, never withholds a packet that a rule wants; nor do directions lie."""
    random = Random(seed)
    for _ in range(8):
        text, packets = filters(random), one_direction(random)
        compiled = compile_filter(text)
        for packet, flow, fields in packets:
            if compiled.matches(packet, flow, fields):
                assert any(passes(packet, selector) for selector in compiled.needs.selectors), text
                assert flow.direction in compiled.needs.directions, text


@given(SEEDS)
def test_filter_is_decided_by_the_five_tuple_when_it_reads_nothing_else(seed: int) -> None:
    """With ports and addresses alone, may_match is exact: it says what matches says."""
    random = Random(seed)
    for _ in range(8):
        text = " and ".join(
            [
                f"tcp.dstport in {{{random.choice(PORTS)}, {random.choice(PORTS)}}}",
                f"not ip.src == {random.choice(V4)}",
            ]
        )
        compiled = compile_filter(text)
        for packet, flow, fields in one_direction(random):
            assert compiled.may_match(packet, flow, frozenset()) == compiled.matches(packet, flow, fields), (
                text
            )


def passes(packet: Packet, selector: Selector) -> bool:
    """What the kernel would decide."""
    transport = {6: "tcp", 17: "udp"}.get(packet.protocol, "other")
    if selector.transport not in ("any", transport):
        return False
    if selector.payload_only and packet.end == packet.payload_start:
        return False
    return all(
        ranges is None or any(low <= port <= high for low, high in ranges)
        for port, ranges in ((packet.sport, selector.src_ports), (packet.dport, selector.dst_ports))
    )
