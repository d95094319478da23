"""The ends of a connection as bytes: the same for all its packets that go one way, turned round for the others."""

from __future__ import annotations

import pytest

from middlebox.ends import ends_of, turned
from middlebox.packet import ACK, SYN, tcp_segment

ADDRESSES = {
    4: (bytes((192, 0, 2, 1)), bytes((203, 0, 113, 25))),
    6: (b"\x20\x01" + bytes(14), b"\x20\x02" + bytes(14)),
}


def segment(family: int, *, back: bool = False, seq: int = 1, sport: int = 20001) -> bytes:
    src, dst = ADDRESSES[family][::-1] if back else ADDRESSES[family]
    ports = (25, sport) if back else (sport, 25)
    return tcp_segment(
        src=src,
        dst=dst,
        sport=ports[0],
        dport=ports[1],
        seq=seq,
        ack=0,
        flags=ACK if back else SYN,
        window=1,
        ttl=64,
    )


@pytest.mark.parametrize("family", ADDRESSES)
def test_ends_are_those_of_the_connection(family: int) -> None:
    """Another port is another connection; the answer has the ends turned round."""
    ends = ends_of(segment(family))
    assert ends == ends_of(segment(family, seq=77))
    assert ends != ends_of(segment(family, sport=20002))
    assert ends_of(segment(family, back=True)) == turned(ends)
    assert turned(turned(ends)) == ends


def test_what_is_not_simple_has_no_ends() -> None:
    """IP options, later fragments, other protocols, extension headers, too few bytes."""
    v4, v6 = segment(4), segment(6)
    fragment = v4[:6] + b"\x00\x01" + v4[8:]
    icmp = v4[:9] + b"\x01" + v4[10:]
    hop_by_hop = v6[:6] + b"\x00" + v6[7:]
    for data in (b"\x46" + v4[1:], fragment, icmp, hop_by_hop, v4[:20], v6[:40], v4[:1]):
        assert ends_of(data) == b""
