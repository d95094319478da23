"""Any datagrams as QUIC and as DNS over UDP: no exception, only known fields, values of their types, no dead group.

QUIC also under its seal: whatever stands in an Initial whose protection is valid has passed every check but ours.
"""

from __future__ import annotations

from hypothesis import given, strategies as st

from middlebox.dissect import ALL_FIELDS, DatagramDissector, Fields, FieldType, field_group
from middlebox.dissect.dns import DnsDatagramDissector
from middlebox.dissect.dns_message import dns_plan
from middlebox.dissect.quic import QuicDissector, quic_plan
from middlebox.flow import Direction
from tests.unit.quic_bytes import V1, V2, crypto, initial
from tests.unit.tls_bytes import client_hello

DIRECTIONS = st.sampled_from(Direction)
KINDS = {FieldType.UINT: int, FieldType.BOOL: bool, FieldType.STRING: str}

LONG_HEADER = st.builds(
    lambda first, version, rest: bytes([0xC0 | first]) + version.to_bytes(4, "big") + rest,
    st.integers(0, 0x3F), st.sampled_from([V1, V2, 0, 0x0A0A0A0A]), st.binary(max_size=80),
)  # fmt: skip
QUIC_NOISE = st.lists(st.tuples(DIRECTIONS, st.one_of(st.binary(max_size=100), LONG_HEADER)), max_size=10)

HELLO = client_hello("web.example")
FRAMES = st.one_of(
    st.binary(max_size=60),
    st.builds(crypto, st.integers(0, 0x3FFFFFFF), st.binary(max_size=40)),
    st.builds(lambda at, size: crypto(at, HELLO[at : at + size]), *(st.integers(0, len(HELLO)),) * 2),
)
# Four bytes of payload at least, else there is no sample to protect the header by (RFC 9001 section 5.4.2).
INSIDE = st.lists(FRAMES, max_size=4).map(lambda frames: b"".join(frames).ljust(4, b"\0"))
SEALED = st.lists(st.tuples(DIRECTIONS, INSIDE, st.integers(0, 2**32 - 1)), min_size=1, max_size=6)

DNS_HEADER = st.builds(
    lambda flags, counts: b"id" + flags + b"".join(n.to_bytes(2, "big") for n in counts),
    st.binary(min_size=2, max_size=2), st.lists(st.sampled_from([0, 1, 2, 0xFFFF]), min_size=4, max_size=4),
)  # fmt: skip
DNS_PIECE = st.one_of(
    st.binary(max_size=30), st.sampled_from([b"\x03web\x07example\0", b"\xc0\x0c", b"\0\x01\0\x01", b"\x3f"])
)
DNS_NOISE = st.one_of(
    st.binary(max_size=100),
    st.builds(lambda head, pieces: head + b"".join(pieces), DNS_HEADER, st.lists(DNS_PIECE, max_size=8)),
)


def assert_survives(dissector: DatagramDissector, direction: Direction, data: bytes) -> Fields:
    """What a datagram shows, after a look at what it must never do."""
    before = dissector.alive
    fields: Fields = {}
    dissector.feed(direction, data, fields)
    assert all(now <= then for now, then in zip(dissector.alive, before, strict=True))
    for name, values in fields.items():
        assert field_group(name) in before[direction]
        assert ALL_FIELDS[name].sent_by in (None, direction)
        assert values
        assert all(type(value) is KINDS.get(ALL_FIELDS[name].type, bytes) for value in values), (name, values)
    return fields


@given(QUIC_NOISE)
def test_any_datagrams_as_quic_raise_nothing(datagrams: list[tuple[Direction, bytes]]) -> None:
    """Noise, and noise behind the beginning of a long header."""
    dissector = QuicDissector(quic_plan(None))
    for direction, data in datagrams:
        assert_survives(dissector, direction, data)


@given(SEALED, st.sampled_from([V1, V2]))
def test_anything_under_a_valid_initial_protection_raises_nothing(
    packets: list[tuple[Direction, bytes, int]], version: int
) -> None:
    """The first one of the client's is opened whatever is in it, which the field of its number tells."""
    dissector = QuicDissector(quic_plan(None))
    # The client's first Initial is what the keys of both directions are made from.
    packets = [(Direction.CLIENT_TO_SERVER, packets[0][1], 0), *packets[1:]]
    for place, (direction, inside, number) in enumerate(packets):
        sender = "server" if direction is Direction.SERVER_TO_CLIENT else "client"
        fields = assert_survives(
            dissector, direction, initial(inside, version=version, sender=sender, number=number)
        )
        if place == 0:
            assert fields["quic.packet_number"] == [0]


@given(st.lists(st.tuples(DIRECTIONS, DNS_NOISE), max_size=6))
def test_any_datagrams_as_dns_raise_nothing(datagrams: list[tuple[Direction, bytes]]) -> None:
    """Noise, and noise behind a header whose counts promise anything."""
    dissector = DnsDatagramDissector(dns_plan(None))
    for direction, data in datagrams:
        assert_survives(dissector, direction, data)
