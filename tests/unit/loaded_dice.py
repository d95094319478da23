"""Dice that show what a test wants, to find out at which number a box begins to act. Not a test."""

from __future__ import annotations

from random import Random


class Always(Random):
    """Shows these numbers one after the other, and the last one for ever."""

    def __init__(self, *shown: float) -> None:
        super().__init__()
        self._shown = list(shown)

    def random(self) -> float:
        return self._shown.pop(0) if len(self._shown) > 1 else self._shown[0]

    def __copy__(self) -> Always:
        return Always(*self._shown)
