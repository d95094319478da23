"""What the actions of one rule come to for one trigger."""

from __future__ import annotations

from dataclasses import dataclass, field

from middlebox.decision import Forged
from middlebox.flow import Direction
from middlebox.profile import Throttle


@dataclass(slots=True)
class Plan:
    """forged: packets with the direction in which they travel. drop: the trigger may not pass. block: directions of
    this connection in which nothing passes from now on. hold_ns: how long the trigger waits."""

    forged: list[tuple[Direction, Forged]] = field(default_factory=list)
    drop: bool = False
    block: set[Direction] = field(default_factory=set)
    hold_ns: int = 0
    throttle: Throttle | None = None
