"""What a packet says, in few words."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR
from scapy.layers.inet import IP, UDP

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


def datagram(message: DNS, sport: int, dport: int) -> Packet:
    data = bytes(IP(src="192.0.2.11", dst="203.0.113.53") / UDP(sport=sport, dport=dport) / message)
    found = decode(data)
    assert found is not None
    return found


@pytest.mark.parametrize(("kind", "answers", "words"), [
    ("A", ["192.0.2.1"], "192.0.2.1"), ("AAAA", ["2001:db8::1", "2001:db8::2"], "2001:db8::1, 2001:db8::2"),
    ("A", [], "no address"),
])  # fmt: skip
def test_words_of_dns_are_the_question_and_the_answer(kind: str, answers: list[str], words: str) -> None:
    """Who lies, and what the lie is, is seen without opening the capture."""
    asked = [DNSQR(qname="blocked.example", qtype=kind)]
    query = DNS(qd=asked)
    records = [DNSRR(rrname="blocked.example", type=kind, rdata=address) for address in answers]
    answer = DNS(qr=1, qd=asked, an=records)
    assert Reader().text(C2S, datagram(query, 40000, 53)) == f"DNS blocked.example {kind}?"
    assert Reader().text(S2C, datagram(answer, 53, 40000)) == f"DNS {words} for blocked.example"


def test_words_of_a_datagram_that_is_no_dns_are_as_on_any_port() -> None:
    """The port alone says nothing."""
    data = bytes(IP(src="192.0.2.11", dst="203.0.113.53") / UDP(sport=40000, dport=53) / b"hello")
    found = decode(data)
    assert found is not None
    assert Reader().text(C2S, found) == "hello"


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
