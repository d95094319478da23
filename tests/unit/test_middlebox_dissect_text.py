"""Where a text protocol hands over to TLS, and what is alive before and after."""

from __future__ import annotations

import pytest

from middlebox.dissect import DEFAULT_PORTS, Fields, dissector_for
from tests.unit.dissect_talk import DEAD, C, S

TLS = frozenset({"tls", "tls.handshake"})


@pytest.mark.parametrize(
    ("port", "greeting", "asking", "accepted"),
    [
        (587, b"220 hi\r\n", b"STARTTLS\r\n", b"220 go\r\n"),
        (143, b"* OK hi\r\n", b"a STARTTLS\r\n", b"a OK go\r\n"),
        (110, b"+OK hi\r\n", b"STLS\r\n", b"+OK go\r\n"),
    ],
    ids=["smtp", "imap", "pop"],
)
class TestHandOver:
    """The same promises for all three."""

    def test_what_is_no_tls_after_the_change_refutes_everything(
        self, port: int, greeting: bytes, asking: bytes, accepted: bytes
    ) -> None:
        """An SSL 2 hello behind the accepted request is not TLS: nothing is alive, nothing is fed any more."""
        protocol = {587: "smtp", 143: "imap", 110: "pop"}[port]
        dissector = dissector_for(port, frozenset({protocol, "tls"}), DEFAULT_PORTS)
        assert dissector
        assert dissector.alive == (TLS | {protocol}, TLS | {protocol})
        for direction, data in ((S, greeting), (C, asking), (S, accepted), (C, b"\x80\x2e\x01\x00\x02")):
            dissector.feed(direction, data, {})
        assert dissector.alive == DEAD
        fields: Fields = {}
        dissector.feed(S, greeting, fields)
        assert fields == {}

    def test_text_in_clear_after_the_change_is_still_text(
        self, port: int, greeting: bytes, asking: bytes, accepted: bytes
    ) -> None:
        """A server that agrees and then talks text is read as text; it may still begin TLS after it."""
        dissector = dissector_for(port, frozenset({"smtp", "imap", "pop", "tls"}), DEFAULT_PORTS)
        assert dissector
        before = dissector.alive
        for direction, data in ((S, greeting), (C, asking), (S, accepted), (S, accepted)):
            dissector.feed(direction, data, {})
        assert dissector.alive is before
        fields: Fields = {}
        dissector.feed(S, b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00", fields)
        assert fields["tls.handshake.type"] == [14]

    def test_byte_at_a_time_finds_the_same_border(
        self, port: int, greeting: bytes, asking: bytes, accepted: bytes
    ) -> None:
        """The change happens at the same byte when each byte comes alone."""
        dissector = dissector_for(port, frozenset({"tls"}), DEFAULT_PORTS)
        assert dissector
        fields: Fields = {}
        hello = b"\x16\x03\x01\x00\x04\x01\x00\x00\x00"
        for direction, data in ((S, greeting), (C, asking), (S, accepted), (C, hello)):
            for byte in data:
                dissector.feed(direction, bytes([byte]), fields)
        assert fields["tls.handshake.type"] == [1]
