"""QUIC headers, integers and frames from bytes that may end anywhere."""

from __future__ import annotations

import pytest

from middlebox.dissect.quic_packet import CRYPTO, Frame, Kind, frames, is_known, long_header, varint
from tests.unit.quic_bytes import CLIENT_ID, V2, crypto, initial


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("c2197c5eff14e88c", 151288809941952652),
        ("9d7f3e7d", 494878333),
        ("7bbd", 15293),
        ("25", 37),
        ("4025", 37),
    ],
)
def test_integers_are_those_of_the_rfc(data: str, value: int) -> None:
    """The examples of RFC 9000 appendix A.1; one byte less is cut off."""
    raw = bytes.fromhex(data)
    assert varint(raw, 0) == (value, len(raw))
    assert varint(raw[:-1], 0)[1] == -1
    assert varint(raw, -1)[1] == -1


def test_long_header_says_where_everything_is() -> None:
    """IDs, token, length and packet number of an Initial; the packet ends where its length says."""
    packet = initial(bytes(30), scid=b"abc", token=b"tok")
    header = long_header(packet + b"more", 0)
    assert header is not None
    assert (header.kind, header.dcid, header.scid) == (Kind.INITIAL, CLIENT_ID, b"abc")
    assert (header.token_length, header.length) == (3, 50)
    assert header.number_at == len(packet) - 50
    assert header.end == len(packet)


def test_long_header_cut_off_is_none() -> None:
    """No beginning of an Initial is one."""
    packet = initial(bytes(30))
    assert all(long_header(packet[:size], 0) is None for size in range(len(packet)))


def test_version_2_numbers_its_types_otherwise() -> None:
    """Type 1 of version 2 is the Initial, type 0 the Retry (RFC 9369 section 3.2)."""
    header = long_header(initial(bytes(30), version=V2), 0)
    assert header is not None
    assert (header.type_bits, header.kind) == (1, Kind.INITIAL)
    retry = long_header(b"\xc0" + V2.to_bytes(4, "big") + b"\x00\x00" + bytes(20), 0)
    assert retry is not None
    assert retry.kind is Kind.RETRY


@pytest.mark.parametrize(
    ("version", "known"),
    [(0, True), (1, True), (0xFF00001D, True), (0x1A2A3A4A, True), (2, False), (0xFFFFFFFF, False)],
)
def test_only_versions_that_there_are_make_quic(version: int, known: bool) -> None:
    """Negotiation, 1, 2, drafts and the reserved ones; of the rest no header is believed."""
    assert is_known(version) is known
    header = long_header(b"\xc0" + version.to_bytes(4, "big") + b"\x01d\x01s" + bytes(40), 0)
    assert (header is not None) is known


def test_frames_end_at_the_first_that_does_not_fit() -> None:
    """Padding is one frame a run, acknowledgments are stepped over, and a cut CRYPTO frame is none."""
    ack = b"\x02\x05\x00\x01\x00\x00\x00"
    payload = b"\x00\x00\x01" + ack + crypto(3, b"abc") + b"\x00" + crypto(0, b"abcdef")[:-1]
    found = list(frames(payload))
    assert [frame.type for frame in found] == [0, 1, 2, 6, 0]
    assert found[3] == Frame(CRYPTO, 3, b"abc")
    assert list(frames(b"\x08\x00\x00")) == []


def test_endless_acknowledgment_ends() -> None:
    """A count of ranges that no packet could hold is not counted through."""
    assert [frame.type for frame in frames(b"\x02\x00\x00\xff" + b"\xff" * 7 + bytes(50))] == [2]
