"""What a packet says, in few words."""

from __future__ import annotations

import pytest

from middlebox.flow import Direction
from middlebox.packet import Packet, decode
from scenarios.report.words import Reader, flag_words, size_words
from tests.unit.staged import Stage

C2S, S2C = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
CLIENT_HELLO = b"\x16\x03\x01\x00\x06\x01hello"
SERVER_HELLO = b"\x16\x03\x03\x00\x06\x02hello" + b"\x14\x03\x03\x00\x01\x01" + b"\x17\x03\x03\x00\x02ab" * 2


def packet(payload: bytes, *, flags: str = "PA", offset: int = 0) -> Packet:
    found = decode(Stage().packet("client", flags, payload, seq=1000 + offset))
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("S", "SYN"),
        ("SA", "SYN+ACK"),
        ("R", "RST"),
        ("RA", "RST+ACK"),
        ("FPA", "FIN+PSH+ACK"),
        ("", "no flags"),
    ],
)
def test_words_flags_are_those_of_the_standard(flags: str, words: str) -> None:
    """Flags read as RFC 9293 names them, ACK last."""
    assert flag_words(packet(b"", flags=flags)) == words


@pytest.mark.parametrize(
    ("size", "words"), [(10, "10 B"), (999, "999 B"), (280_000, "280 kB"), (1_240_000, "1.24 MB")]
)
def test_words_sizes_are_short(size: int, words: str) -> None:
    """Three digits and a unit."""
    assert size_words(size) == words


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"STARTTLS\r\n", "STARTTLS"), (b"250-mail\r\n250 OK\r\n", "250-mail (+1 line)"),
        (b"a\r\nb\r\nc\r\n", "a (+2 lines)"),
        (CLIENT_HELLO, "TLS ClientHello"), (SERVER_HELLO, "TLS ServerHello, ChangeCipherSpec, ApplicationData"),
        (b"\x00\x01\x02\xff" * 8, ""), (b"", ""),
    ],
)  # fmt: skip
def test_words_payload_is_read_as_text_or_tls(payload: bytes, text: str) -> None:
    """The first line of text, the records of TLS, nothing of binary data."""
    assert Reader().text(C2S, packet(payload)) == text


def test_words_tls_record_over_two_segments_is_followed() -> None:
    """The rest of a record is its rest, and the next record is seen."""
    reader = Reader()
    assert reader.text(C2S, packet(CLIENT_HELLO[:8])) == "TLS ClientHello"
    assert (
        reader.text(C2S, packet(CLIENT_HELLO[8:] + b"\x15\x03\x03\x00\x02\x02\x28", offset=8)) == "TLS Alert"
    )
    assert reader.text(S2C, packet(b"220 hi\r\n")) == "220 hi"


def test_words_retransmission_says_so() -> None:
    """What was said before is said again."""
    reader = Reader()
    reader.text(C2S, packet(b"QUIT\r\n"))
    assert reader.text(C2S, packet(b"QUIT\r\n")) == "(again) QUIT"
