"""BitTorrent's peer handshake (BEP 3) on any TCP port.

It is recognised by its first 20 bytes. The messages behind it are not read; of those only the presence is reported, and
only to those who ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, Dissector, Fields, FieldSpec, FieldType, add
from middlebox.flow import Direction

_START = b"\x13BitTorrent protocol"
_HANDSHAKE_BYTES = 68  # and 8 reserved bytes, the info hash of 20 and the peer ID of 20

_BYTES = FieldType.BYTES


class BittorrentDissector(Dissector):
    """BitTorrent on any port: found by its first bytes and refuted by them."""

    __slots__ = ("_pending", "_presence", "_wanted")

    protocol: ClassVar[str] = "bittorrent"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "bittorrent": FieldSpec(FieldType.BOOL, None, "the packet belongs to a BitTorrent connection"),
        "bittorrent.protocol.name": FieldSpec(FieldType.STRING, None, "BitTorrent protocol"),
        "bittorrent.protocol.name.length": FieldSpec(FieldType.UINT, None, "19"),
        "bittorrent.reserved": FieldSpec(_BYTES, None, "the 8 reserved bytes: what the peer can do"),
        "bittorrent.info_hash": FieldSpec(_BYTES, None, "SHA-1 of the torrent, 20 bytes"),
        "bittorrent.peer_id": FieldSpec(_BYTES, None, "ID of the peer, 20 bytes"),
    }

    def __init__(self, fields: frozenset[str] | None) -> None:
        """`fields`: those that rules read, None for all."""
        self._wanted = frozenset(self.FIELDS if fields is None else fields)
        self._presence = "bittorrent" in self._wanted
        self._pending: list[bytes | None] = [b"", b""]  # of the handshake; None behind it
        both = frozenset({"bittorrent"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not data or not self.alive[direction]:
            return
        pending = self._pending[direction]
        if pending is not None and not self._handshake_of(
            direction, pending + data[:_HANDSHAKE_BYTES], fields
        ):
            return
        if self._presence:
            fields["bittorrent"] = [True]

    def restart(self, direction: Direction) -> None:
        if self._pending[direction]:
            self._pending[direction] = None  # the rest of the handshake is lost

    def _handshake_of(self, direction: Direction, start: bytes, fields: Fields) -> bool:
        """Read on in the handshake; whether it is complete."""
        if not start.startswith(_START[: len(start)]):
            self.alive = NOTHING_ALIVE
            return False
        if len(start) < _HANDSHAKE_BYTES:
            self._pending[direction] = start
            return False
        self._pending[direction] = None
        for name, value in (
            ("bittorrent.protocol.name.length", start[0]),
            ("bittorrent.protocol.name", start[1:20].decode("latin-1")),
            ("bittorrent.reserved", start[20:28]),
            ("bittorrent.info_hash", start[28:48]),
            ("bittorrent.peer_id", start[48:68]),
        ):
            if name in self._wanted:
                add(fields, name, value)
        if not self._presence:
            client, server = self.alive
            self.alive = (client, frozenset()) if direction else (frozenset(), server)
        return True
