"""The two ways to say where a packet goes: by who sent it (client, server), and by where it enters the box."""

from __future__ import annotations

from enum import IntEnum


class Direction(IntEnum):
    """Which end of the connection sent it. The client is who sent the first SYN."""

    CLIENT_TO_SERVER = 0
    SERVER_TO_CLIENT = 1

    @property
    def word(self) -> str:
        return "client-to-server" if self is Direction.CLIENT_TO_SERVER else "server-to-client"

    @property
    def opposite(self) -> Direction:
        return _OTHER_DIRECTION[self]


class Side(IntEnum):
    """Which side of the box a packet came in from. Inside are the subscribers."""

    INSIDE = 0
    OUTSIDE = 1

    @property
    def word(self) -> str:
        return "inside" if self is Side.INSIDE else "outside"

    @property
    def opposite(self) -> Side:
        return _OTHER_SIDE[self]


# Looked up, because making an enum member from its number takes half a microsecond.
_OTHER_DIRECTION = (Direction.SERVER_TO_CLIENT, Direction.CLIENT_TO_SERVER)
_OTHER_SIDE = (Side.OUTSIDE, Side.INSIDE)
