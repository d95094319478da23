"""Words remembered about hosts: `mark: {word: ..., key: [...], for: ...}`.

Marks of one connection stand in its `Flow`; these are about everybody with the same key, for a time. Bounded.
"""

from __future__ import annotations

from middlebox.flow import Direction, Side
from middlebox.packet import Packet
from middlebox.profile import KeyPart, Mark, PortBlock
from middlebox.residual import Key, key_of

CAPACITY = 65_536
"""Entries; the oldest goes first (chosen)."""


class HostMarks:
    """(word, key) -> until when. `in_use`: whether any word was ever remembered."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, tuple[KeyPart | PortBlock, ...], Key], int] = {}
        self._kinds: dict[tuple[str, tuple[KeyPart | PortBlock, ...]], None] = {}
        self.in_use = False

    def set(self, mark: Mark, key: Key, now_ns: int) -> None:
        """Remember the word about this key from now on."""
        until = self._until
        until.pop((mark.word, mark.key, key), None)
        if len(until) >= CAPACITY:
            del until[next(iter(until))]
        until[mark.word, mark.key, key] = now_ns + mark.duration_ns
        self._kinds[mark.word, mark.key] = None
        self.in_use = True

    def clear(self) -> None:
        """Forget everybody, as a box does that loads other rules."""
        self._until.clear()
        self._kinds.clear()
        self.in_use = False

    def of(self, p: Packet, ingress: Side, sent_by: Direction, now_ns: int) -> frozenset[str]:
        """The words that hold for this packet now."""
        until = self._until
        return frozenset(
            [
                word
                for word, parts in self._kinds
                if until.get((word, parts, key_of(parts, p, ingress, sent_by)), 0) > now_ns
            ]
        )
