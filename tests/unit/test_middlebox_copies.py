"""Copies are found by the connection that they belong to, oldest first, and the oldest of all go first."""

from __future__ import annotations

import struct

from middlebox.copies import LOG, Copies, Copy, ends_as_sent
from middlebox.netlink import attribute, message
from middlebox.packet import ACK, tcp_segment

CLIENT, SERVER = bytes([192, 0, 2, 10]), bytes([203, 0, 113, 80])
_PAYLOAD, _TIMESTAMP, _INDEV = 9, 3, 4


def said(payload: bytes, *, port: int = 40000) -> bytes:
    return tcp_segment(
        src=CLIENT,
        dst=SERVER,
        sport=port,
        dport=80,
        seq=1000,
        ack=0,
        flags=ACK,
        window=500,
        ttl=64,
        payload=payload,
    )


def read_of(*packets: bytes, at_s: int | None = None) -> bytes:
    """What one read of the kernel's log would hold."""
    time = b"" if at_s is None else attribute(_TIMESTAMP, struct.pack("!QQ", at_s, 7))
    return b"".join(
        message(LOG, 0, time, attribute(_INDEV, bytes(4)), attribute(_PAYLOAD, data), flags=0)
        for data in packets
    )


def ends(port: int = 40000) -> bytes:
    return ends_as_sent(CLIENT, SERVER, port, 80)


def test_last_copy_of_a_connection_is_found_whatever_came_between() -> None:
    """With its time and where it came in, as far as the kernel says so."""
    copies = Copies()
    copies.keep(read_of(said(b"old"), said(b"first", port=40001)), 1)
    copies.keep(read_of(said(b"second", port=40002)), 2)
    copies.keep(read_of(said(b"other", port=40002), said(b"new"), said(b"third", port=40003), at_s=9), 3)
    assert copies.of(ends()) == Copy(said(b"new"), 9_000_007_000)
    assert copies.of(ends(40001)) == Copy(said(b"first", port=40001), 1)
    assert copies.of(ends(40004)) is None


def test_oldest_copies_go_first() -> None:
    """As the oldest connections go from a box's table."""
    reads = [read_of(said(b"one", port=port)) for port in (1, 2, 3)]
    copies = Copies(limit_bytes=len(reads[0]) + len(reads[1]))
    for number, read in enumerate(reads):
        copies.keep(read, number)
    assert [copies.of(ends(port)) is None for port in (1, 2, 3)] == [True, False, False]


def test_copies_of_ipv6_are_found_too() -> None:
    """Their addresses stand elsewhere, and are longer."""
    src, dst = bytes(15) + b"\1", bytes(15) + b"\2"
    packet = tcp_segment(
        src=src, dst=dst, sport=7, dport=80, seq=1, ack=0, flags=ACK, window=1, ttl=64, payload=b"said"
    )
    copies = Copies()
    copies.keep(read_of(packet), 1)
    assert copies.of(ends_as_sent(src, dst, 7, 80)) == Copy(packet, 1)


def test_bytes_that_only_look_like_a_copy_are_none() -> None:
    """A client can say whatever it likes, a message of the kernel's log too; and who was asked leaves one byte."""
    inside = read_of(said(b"forged"))
    copies = Copies()
    copies.keep(read_of(said(inside, port=7), said(b"real", port=8)), 1)
    copies.keep(read_of(b"E"), 1)
    assert copies.of(ends()) is None
    assert copies.of(ends(7)) == Copy(said(inside, port=7), 1)
    assert copies.of(ends(8)) == Copy(said(b"real", port=8), 1)
