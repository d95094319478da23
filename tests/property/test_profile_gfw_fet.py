"""The rule of gfw-fet as a filter, against an independent transcription of Algorithm 1 (Wu23)."""

from __future__ import annotations

from hypothesis import example, given, strategies as st

from middlebox.load import load_profile
from tests.property.wu23_algorithm_1 import exemptions
from tests.unit.filter_kit import Flow, tcp

[RULE] = load_profile("gfw-fet").rules

PRINTABLE = bytes(range(0x20, 0x7F))
FOUR_BITS = bytes(byte for byte in range(256) if byte.bit_count() == 4 and byte not in PRINTABLE)
PREFIXES = (
    b"", b"\x16\x03\x01", b"\x17\x03\x09", b"\x17\x03\x0a", b"\x15\x03\x01", b"\x16\x02\x01", b"GET ", b"get ",
    b"GET", b"pUt ", b"POST ", b"HEAD ", b"HEADS", b"DELETE ", b"\nGET ", b"SSH-2.", b"SSH-2\n", b"12345\x7f",
)  # fmt: skip


def bytes_of(alphabet: bytes, low: int, high: int) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(list(alphabet)), min_size=low, max_size=high).map(bytes)


PIECE = st.one_of(
    st.binary(max_size=40),
    bytes_of(PRINTABLE, 0, 24),
    bytes_of(FOUR_BITS, 0, 40),
    st.sampled_from([b"\0" * 5, b"\xff" * 5, b"x" * 20, b"x" * 21, b"~ " * 10]),
)
PACKET = st.tuples(st.sampled_from(PREFIXES), st.lists(PIECE, max_size=5)).map(
    lambda p: p[0] + b"".join(p[1])
)


def blocks(packet: bytes, data_packets: int = 1) -> bool:
    return RULE.when.matches(tcp(packet, dport=7000), Flow(data_packets=data_packets), {})


@given(PACKET.filter(bool))
@example(b"\x0f" * 2 + b"\x07" * 3)  # 17 bits in 5 bytes: 3.4 exactly
@example(b"\x0f" * 3 + b"\x07" * 3)
@example(b"\xf8" * 3 + b"\xf0" * 2)  # 23 bits in 5 bytes: 4.6 exactly
@example(b"\xf8" * 2 + b"\xf0" * 2)
@example(b"\xf0" * 21 + b"x" * 20)
@example(b"\xf0" * 22 + b"x" * 21)
@example(b"\xf0" + b"x")  # half of them, not more
@example(b"\xf0" * 5)
def test_filter_of_gfw_fet_blocks_exactly_what_algorithm_1_blocks(packet: bytes) -> None:
    """Bits per byte, printable bytes and prefixes: all borders are where the paper has them."""
    assert blocks(packet) == (not exemptions(packet))


@given(st.binary(min_size=200, max_size=200))
def test_later_packets_are_not_looked_at(packet: bytes) -> None:
    """Only the first packet with data counts."""
    assert not blocks(packet, data_packets=2)


def test_share_of_connections_that_are_blocked_is_the_published_one() -> None:
    """26.3 per cent (Wu23 section 6)."""
    assert RULE.probability == 0.263
