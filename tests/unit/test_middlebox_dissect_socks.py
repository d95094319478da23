"""SOCKS 4, 4a and 5: requests and replies, cut anywhere."""

from __future__ import annotations

import pytest

from middlebox.dissect.socks import MAX_MESSAGE_BYTES, SocksDissector
from middlebox.dissect.tls import tls_plan
from middlebox.flow import Direction
from tests.unit.dissect_talk import DEAD, C, S, feed
from tests.unit.tls_bytes import client_hello, record

OFFER, CREDENTIALS = b"\x05\x02\x00\x02", b"\x01\x05alice\x02pw"
REQUEST = b"\x05\x01\x00\x03\x0bweb.example\x01\xbb"


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_socks_5_client_is_read_however_it_is_cut(size: int) -> None:
    """Offer, credentials and request in one stream; behind the request nothing is read."""
    dissector = SocksDissector(None)
    stream = OFFER + CREDENTIALS + REQUEST + b"\x16\x03\x01"
    fields = feed(dissector, C, *(stream[at : at + size] for at in range(0, len(stream), size)))
    assert fields["socks.auth_method"] == [0, 2]
    assert fields["socks.username"] == ["alice"]
    assert fields["socks.password"] == ["pw"]
    assert fields["socks.command"] == [1]
    assert fields["socks.remote_name"] == ["web.example"]
    assert fields["socks.port"] == [443]
    assert dissector.alive == (frozenset(), {"socks"})


def test_socks_5_server_is_read() -> None:
    """Choice, answer to the credentials, and the reply with the bound address."""
    fields = feed(SocksDissector(None), S, b"\x05\x02\x01\x00", b"\x05\x00\x00\x01\xcb\x00\x71\x50\x01\xbb")
    assert fields["socks.auth_accepted_method"] == [2]
    assert fields["socks.results"] == [0]
    assert fields["socks.dst"] == [bytes([203, 0, 113, 80])]


@pytest.mark.parametrize(
    ("request_bytes", "name"),
    [
        (b"\x04\x01\x00\x50\xcb\x00\x71\x50al\x00", None),
        (b"\x04\x01\x00\x50\x00\x00\x00\x01al\x00web.example\x00", "web.example"),
    ],
)
def test_socks_4_has_an_address_and_4a_a_name(request_bytes: bytes, name: str | None) -> None:
    """Address 0.0.0.x says that a name follows the user."""
    fields = feed(SocksDissector(None), C, *(request_bytes[at : at + 1] for at in range(len(request_bytes))))
    assert fields["socks.version"] == [4]
    assert fields["socks.dstport"] == [80]
    assert fields["socks.username"] == ["al"]
    assert fields.get("socks.v4a_dns_name") == (None if name is None else [name])


@pytest.mark.parametrize(
    ("direction", "data"),
    [
        (C, b"\x05\x00"),
        (C, b"\x05\x01\x55"),
        (C, b"\x04\x03"),
        (C, b"\x16"),
        (C, OFFER + b"\x05\x09"),
        (C, OFFER + b"\x05\x01\x00\x09"),
        (C, b"\x04\x01\x00\x50\x01\x02\x03\x04" + b"u" * MAX_MESSAGE_BYTES),
        (S, b"\x00\x10"),
        (S, b"HTTP"),
        (S, b"\x05\x00\x07"),
    ],
)
def test_what_does_not_fit_refutes_socks(direction: Direction, data: bytes) -> None:
    """Methods, commands, address types and results that there are not, and messages without end."""
    dissector = SocksDissector(None)
    feed(dissector, direction, *(data[at : at + 1] for at in range(len(data))))
    assert dissector.alive == DEAD


def test_tls_behind_the_request_is_read() -> None:
    """The name in a ClientHello is seen behind SOCKS, also in the very segment of the request."""
    hello = record(22, client_hello("web.example"))
    for parts in ([OFFER + REQUEST + hello], [OFFER, REQUEST, hello[:20], hello[20:]]):
        dissector = SocksDissector(None, tls_plan(None))
        fields = feed(dissector, C, *parts)
        assert (
            fields["socks.remote_name"] == fields["tls.handshake.extensions_server_name"] == ["web.example"]
        )
        assert "socks" not in dissector.alive[C]


def test_something_else_behind_the_request_is_let_go() -> None:
    """What is not TLS is nothing that is read."""
    dissector = SocksDissector(None, tls_plan(None))
    feed(dissector, C, OFFER, REQUEST, b"SSH-2.0-x\r\n")
    assert dissector.alive == (frozenset(), {"socks"})


def test_lost_bytes_end_the_half_read_message() -> None:
    """After a gap the next segment is read as the message that was due."""
    dissector = SocksDissector(frozenset({"socks.remote_name"}))
    feed(dissector, C, OFFER, b"\x05\x01")
    dissector.restart(C)
    assert feed(dissector, C, REQUEST) == {"socks.remote_name": ["web.example"]}
