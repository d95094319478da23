"""Opening QUIC Initials: the vectors of RFC 9001 appendix A, and keys that do not fit."""

from __future__ import annotations

import pytest

from middlebox.dissect.quic_crypto import opener
from middlebox.dissect.quic_packet import long_header
from middlebox.flow import Direction
from tests.unit.dissect_talk import C, S
from tests.unit.quic_bytes import CLIENT_ID, V1, V2, initial

# RFC 9001 appendix A.2: the CRYPTO frame, then padding to 1,162 bytes; packet number 2 in four bytes.
CLIENT_PAYLOAD = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c000000010"
    "000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e00050005010000000000330026"
    "0024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e040305030603"
    "0203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901"
    "100f088394c8f03e51570806048000ffff"
).ljust(1162, b"\x00")
CLIENT_START = bytes.fromhex("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11")
CLIENT_END = bytes.fromhex(
    "7e78bfe706ca4cf5e9c5453e9f7cfd2b8b4c8d169a44e55c88d4a9a7f9474241e221af44860018ab0856972e194cd934"
)
# Appendix A.3, whole; the connection ID from which its keys follow is that of appendix A.2.
SERVER_PACKET = bytes.fromhex(
    "cf000000010008f067a5502a4262b5004075c0d95a482cd0991cd25b0aac406a5816b6394100f37a1c69797554780bb38cc5a99f5ede4cf73c"
    "3ec2493a1839b3dbcba3f6ea46c5b7684df3548e7ddeb9c3bf9c73cc3f3bded74b562bfb19fb84022f8ef4cdd93795d77d06edbb7aaf2f5889"
    "1850abbdca3d20398c276456cbc42158407dd074ee"
)
SERVER_PAYLOAD = bytes.fromhex(
    "02000000000600405a020000560303eefce7f7b37ba1d1632e96677825ddf73988cfc79825df566dc5430b9a045a1200130100002e00330024"
    "001d00209d3c940d89690b84d08a60993c144eca684d1081287c834d5311bcf32bb9da1a002b00020304"
)


def test_server_initial_of_the_rfc_is_opened() -> None:
    """The packet of RFC 9001 appendix A.3 has the payload that is printed there, and packet number 1."""
    header = long_header(SERVER_PACKET, 0)
    assert header is not None
    opened = opener(V1, CLIENT_ID, S).open(SERVER_PACKET, 0, header.number_at, header.end, -1)
    assert opened == (1, SERVER_PAYLOAD)


def test_client_initial_of_the_rfc_is_opened() -> None:
    """The packet of appendix A.2 (its first and last bytes are checked) has the payload that is printed there."""
    packet = initial(CLIENT_PAYLOAD, number=2)
    assert packet.startswith(CLIENT_START)
    assert packet.endswith(CLIENT_END)
    header = long_header(packet, 0)
    assert header is not None
    opened = opener(V1, CLIENT_ID, C).open(packet, 0, header.number_at, header.end, -1)
    assert opened == (2, CLIENT_PAYLOAD)


@pytest.mark.parametrize(
    ("version", "connection_id", "end"), [(V1, b"\x00" * 8, C), (V1, CLIENT_ID, S), (V2, CLIENT_ID, C)]
)
def test_other_keys_open_nothing(version: int, connection_id: bytes, end: Direction) -> None:
    """Another connection ID, the other end's keys and the other version's are noticed."""
    packet = initial(CLIENT_PAYLOAD)
    header = long_header(packet, 0)
    assert header is not None
    assert opener(version, connection_id, end).open(packet, 0, header.number_at, header.end, -1) is None


def test_packet_too_short_for_a_sample_is_not_opened() -> None:
    """A packet that ends within its header protection sample is left alone."""
    packet = initial(b"")
    header = long_header(packet, 0)
    assert header is not None
    assert opener(V1, CLIENT_ID, C).open(packet, 0, header.number_at, header.number_at + 19, -1) is None


@pytest.mark.parametrize(
    ("number", "largest"), [(0xA82F9B32, 0xA82F30EA), (65535, 65530), (65537, 65535), (65530, 65537), (3, -1)]
)
def test_truncated_packet_number_is_completed(number: int, largest: int) -> None:
    """What was written in two bytes is completed by what came before; the first case is RFC 9000 appendix A.3's."""
    packet = initial(bytes(20), number=number, number_bytes=2)
    header = long_header(packet, 0)
    assert header is not None
    opened = opener(V1, CLIENT_ID, C).open(packet, 0, header.number_at, header.end, largest)
    assert opened is not None
    assert opened.packet_number == number
