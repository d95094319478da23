"""The frames that go through PPTP's tunnel."""

from __future__ import annotations

from hypothesis import given, strategies
from scapy.layers.ppp import PPP, PPP_LCP_Configure

from lab.services.pptp import GREETING, frame_of


def test_pptp_frame_check_is_that_of_the_standard() -> None:
    """CRC-16/X-25 of `123456789` is 0x906e, the catalogue's check value, low byte first."""
    assert frame_of(b"123456789") == b"~123456789\x6e\x90~"


@given(strategies.binary(max_size=60))
def test_pptp_frame_hides_what_a_line_would_swallow(packet: bytes) -> None:
    """Between the flags stands no flag and no control character, and the packet is got back by undoing the escapes."""
    frame = frame_of(packet)
    inside = frame[1:-1]
    assert frame[:1] == frame[-1:] == b"~"
    assert not set(inside) & {0x7E, *range(0x20)}
    pieces = inside.split(b"\x7d")
    undone = pieces[0] + b"".join(bytes((piece[0] ^ 0x20,)) + piece[1:] for piece in pieces[1:])
    assert undone[:-2] == packet


def test_pptp_server_greets_by_lcp() -> None:
    """Scapy reads a Configure-Request without options."""
    greeting = PPP(GREETING)
    assert greeting[PPP_LCP_Configure].code == 1
    assert greeting[PPP_LCP_Configure].options == []
