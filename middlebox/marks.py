"""Words remembered about hosts: `mark: {word: ..., key: [...], for: ...}`.

Marks of one connection stand in its `Flow`; these are about everybody with the same key, for a time. Bounded.
"""

from __future__ import annotations

from middlebox.flow import Direction, Side
from middlebox.packet import Packet
from middlebox.profile import KeyPart, Mark
from middlebox.residual import Key, key_of

CAPACITY = 65_536
"""Entries; the oldest goes first (chosen)."""


class HostMarks:
    """(word, key) -> until when."""

    def __init__(self) -> None:
        self._until: dict[tuple[str, tuple[KeyPart, ...], Key], int] = {}
        self._kinds: set[tuple[str, tuple[KeyPart, ...]]] = set()

    def __bool__(self) -> bool:
        return bool(self._until)

    def set(self, mark: Mark, key: Key, now_ns: int) -> None:
        """Remember the word about this key from now on."""
        if len(self._until) >= CAPACITY:
            del self._until[next(iter(self._until))]
        self._until.pop((mark.word, mark.key, key), None)
        self._until[mark.word, mark.key, key] = now_ns + mark.duration_ns
        self._kinds.add((mark.word, mark.key))

    def of(self, p: Packet, ingress: Side, sent_by: Direction, now_ns: int) -> frozenset[str]:
        """The words that hold for this packet now."""
        return frozenset(
            word
            for word, parts in self._kinds
            if self._until.get((word, parts, key_of(parts, p, ingress, sent_by)), 0) > now_ns
        )
