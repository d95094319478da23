"""Arithmetic of TCP sequence numbers, modulo 2**32 (RFC 9293 section 3.4)."""

from __future__ import annotations

HALF = 1 << 31


def add(seq: int, offset: int) -> int:
    """`seq` moved by `offset` (may be negative), wrapped."""
    return (seq + offset) & 0xFFFFFFFF


def distance(origin: int, seq: int) -> int:
    """How far `seq` lies after `origin`: -2**31 .. 2**31-1, negative when it lies before."""
    return ((seq - origin + HALF) & 0xFFFFFFFF) - HALF


def before(left: int, right: int) -> bool:
    """Whether `left` comes before `right` on the circle."""
    return distance(right, left) < 0


FURTHEST = 1 << 20
"""How far a number may be from the first one to be of the same connection (chosen: a large window)."""


def is_of_connection(is_seq: int, seq: int) -> bool:
    """Whether a number belongs to the connection that began with `is_seq`, and not to another between the same ends."""
    return 0 < distance(is_seq, seq) <= FURTHEST
