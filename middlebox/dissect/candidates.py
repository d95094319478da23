"""Several protocols that a flow may still speak: all are fed until their own first bytes refute them.

The protocols that are found by content (TLS, HTTP, SSH, BitTorrent ...) differ in their first bytes, so after the first
segment one is left at most, and it alone costs anything. It must never bring back what was refuted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, Alive, Dissector, Fields, FieldSpec
from middlebox.flow import Direction


class Candidates(Dissector):
    """One flow, read by every candidate that is not refuted yet."""

    __slots__ = ("_parts",)

    protocol: ClassVar[str] = ""
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {}

    def __init__(self, parts: Sequence[Dissector]) -> None:
        self._parts = tuple(parts)
        self.alive = NOTHING_ALIVE
        self._renew()

    @property
    def remaining(self) -> Dissector:
        return self._parts[0] if len(self._parts) == 1 else self

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        changed = False
        for part in self._parts:
            before = part.alive
            part.feed(direction, data, fields)
            if part.alive is not before:
                changed = True
        if changed:
            self._parts = tuple([part for part in self._parts if part.alive != NOTHING_ALIVE])
            self._renew()

    def restart(self, direction: Direction) -> None:
        for part in self._parts:
            part.restart(direction)

    def _renew(self) -> None:
        parts = self._parts
        alive = parts[0].alive if len(parts) == 1 else _united(tuple([part.alive for part in parts]))
        if alive != self.alive:
            self.alive = alive
        self.couples_directions = any(part.couples_directions for part in parts)


def one_of(parts: Sequence[Dissector]) -> Dissector | None:
    """A dissector for a flow that speaks one of these, or none of them."""
    if len(parts) > 1:
        return Candidates(parts)
    return parts[0] if parts else None


@lru_cache(maxsize=256)
def _united(alive: tuple[Alive, ...]) -> Alive:
    nothing: frozenset[str] = frozenset()
    return nothing.union(*(client for client, _ in alive)), nothing.union(*(server for _, server in alive))
