"""What an edge needs of its engine: one box, or several that stand one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from middlebox.decision import Decision
from middlebox.events import Event
from middlebox.flow import Direction, Side
from middlebox.profile import Deployment


class JudgesPackets(Protocol):
    """Engine and Stack."""

    @property
    def generation(self) -> int: ...
    @property
    def next_change_ns(self) -> int | None: ...
    @property
    def punishing(self) -> bool: ...
    @property
    def deployments(self) -> tuple[Deployment, ...]: ...
    @property
    def undecoded(self) -> int: ...
    def handle(
        self,
        data: bytes,
        now_ns: int,
        ingress: Side,
        sent_by: Direction | None,
        *,
        first: bool,
        has_passed: bool = False,
    ) -> Decision: ...
    def lead(self, data: bytes, now_ns: int, ingress: Side) -> Decision: ...
    def advance(self, now_ns: int) -> tuple[Event, ...]: ...
    def reload(self, deployments: Sequence[Deployment], now_ns: int) -> tuple[Event, ...]: ...
