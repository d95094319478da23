"""L2TP: the start of a tunnel on any port, everything on its own."""

from __future__ import annotations

import pytest

from middlebox.dissect.l2tp import L2tpDissector
from tests.unit.dissect_talk import DEAD, C, S, feed


def control(message: int, tunnel: int = 0, body: bytes = b"", extra: int = 0) -> bytes:
    avp = b"\x80\x08\x00\x00\x00\x00" + message.to_bytes(2, "big")
    rest = tunnel.to_bytes(2, "big") + bytes(6) + avp + body
    return b"\xc8\x02" + (4 + len(rest) + extra).to_bytes(2, "big") + rest


def test_tunnel_is_recognised_by_its_first_message() -> None:
    """SCCRQ to tunnel 0 opens it, on any port; later messages and data follow."""
    dissector = L2tpDissector(None, on_own_port=False)
    fields = feed(dissector, C, control(1))
    assert fields["l2tp.type"] == [1]
    assert fields["l2tp.avp.message_type"] == [1]
    assert feed(dissector, S, control(2, tunnel=7))["l2tp.tunnel"] == [7]
    data = feed(dissector, C, b"\x00\x02\x00\x07\x00\x09" + b"ppp")
    assert data == {
        "l2tp": [True],
        "l2tp.type": [0],
        "l2tp.version": [2],
        "l2tp.tunnel": [7],
        "l2tp.session": [9],
    }


@pytest.mark.parametrize(
    "data",
    [
        b"",
        control(1)[:5],
        control(2),
        control(1, tunnel=3),
        control(1, extra=1),
        b"\xc8\x03" + control(1)[2:],
        b"\x00\x02\x00\x07\x00\x09",
    ],
)
def test_other_first_datagram_refutes_l2tp_elsewhere(data: bytes) -> None:
    """On ports of other protocols only the start of a tunnel counts."""
    dissector = L2tpDissector(None, on_own_port=False)
    assert not feed(dissector, C, data, control(1))
    assert dissector.alive == DEAD


def test_own_port_needs_no_start() -> None:
    """On port 1701 a box that came later still reads the tunnel."""
    fields = feed(L2tpDissector(frozenset({"l2tp.type"}), on_own_port=True), C, b"xx", control(6, tunnel=3))
    assert fields == {"l2tp.type": [1]}
