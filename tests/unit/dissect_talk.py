"""Bytes said to a dissector, and the fields that come of them. Not a test."""

from __future__ import annotations

from middlebox.dissect import Dissector, Fields
from middlebox.flow import Direction
from tests.unit.tls_bytes import client_hello, record

C, S = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
DEAD: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())
"""`Dissector.alive` when nobody needs to read on."""
HELLO = record(22, client_hello())


def feed(dissector: Dissector, direction: Direction, *parts: bytes) -> Fields:
    """What comes of bytes that one end says in so many segments, or of datagrams, all together."""
    fields: Fields = {}
    for part in parts:
        dissector.feed(direction, part, fields)
    return fields


def talk(dissector: Dissector, *segments: tuple[Direction, bytes]) -> list[Fields]:
    """What comes of each segment of a conversation."""
    return [feed(dissector, direction, data) for direction, data in segments]
