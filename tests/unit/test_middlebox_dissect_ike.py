"""IKE by its header on any port, ESP by its place."""

from __future__ import annotations

import pytest

from middlebox.dissect.ike import EspDissector, IkeDissector
from tests.unit.dissect_talk import DEAD, C, feed


def ike(exchange: int = 34, version: int = 0x20, body: bytes = b"abcd", extra: int = 0) -> bytes:
    head = b"initiate" + bytes(8) + bytes([33, version, exchange, 8]) + bytes(4)
    return head + (28 + len(body) + extra).to_bytes(4, "big") + body


def test_ike_is_recognised_on_any_port_and_behind_the_marker() -> None:
    """The same header is found with and without the four zero bytes of port 4500."""
    for data in (ike(), b"\0\0\0\0" + ike()):
        fields = feed(IkeDissector(None, on_own_port=False), C, data)
        assert fields["isakmp.exchangetype"] == [34]
        assert fields["isakmp.version"] == [0x20]
        assert fields["isakmp.ispi"] == [b"initiate"]
        assert fields["isakmp.length"] == [32]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(28),
        ike(exchange=2),
        ike(exchange=34, version=0x10),
        ike(version=0x30),
        ike(extra=1),
        ike()[:27],
        b"\0\0\0\0",
    ],
)
def test_what_is_no_ike_refutes_it_elsewhere_and_is_passed_over_on_its_port(data: bytes) -> None:
    """Exchange, version and length have to agree; on ports 500 and 4500 the next datagram has another chance."""
    elsewhere = IkeDissector(None, on_own_port=False)
    assert not feed(elsewhere, C, data)
    assert elsewhere.alive == DEAD
    at_home = IkeDissector(None, on_own_port=True)
    assert not feed(at_home, C, data)
    assert feed(at_home, C, ike())["isakmp"] == [True]


def test_esp_in_udp_is_told_from_ike_and_keepalives() -> None:
    """On port 4500 four zero bytes mean IKE and a single byte is a keepalive; the rest is ESP."""
    dissector = EspDissector(None, in_udp=True)
    assert not feed(dissector, C, b"\xff", b"\0\0\0\0" + ike())
    packet = bytes.fromhex("c1c2c3c400000007") + bytes(20)
    assert feed(dissector, C, packet) == {"esp": [True], "esp.spi": [0xC1C2C3C4], "esp.sequence": [7]}
    assert feed(EspDissector(frozenset({"esp"}), in_udp=False), C, packet) == {"esp": [True]}
