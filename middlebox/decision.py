"""What the engine answers to one packet: a verdict, maybe forged packets, what the kernel may do by itself, events."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntFlag

from middlebox.events import Event
from middlebox.profile import Redirect


class Verdict(Enum):
    """What the kernel is told. An *action* is what a rule wants; several actions make one verdict."""

    ACCEPT = "accept"
    DROP = "drop"


class Offload(IntFlag):
    """What the kernel may from now on do with a connection without asking, by direction."""

    NONE = 0
    PASS_CLIENT_TO_SERVER = 1
    PASS_SERVER_TO_CLIENT = 2
    DROP_CLIENT_TO_SERVER = 4
    DROP_SERVER_TO_CLIENT = 8
    PASS = 3
    DROP = 12


@dataclass(frozen=True, slots=True)
class Forged:
    """One packet to send at `send_at_ns` (the clock that was handed in), bytes as they leave the box."""

    data: bytes
    send_at_ns: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One packet, one answer. With an on-path box the verdict is carried out before anything is forged.

    replacement: what goes on instead of the packet. hold_until_ns: when it goes on, 0 at once. redirect: where the
    kernel is to lead the connection that this packet begins.
    """

    verdict: Verdict = Verdict.ACCEPT
    offload: Offload = Offload.NONE
    forged: tuple[Forged, ...] = ()
    events: tuple[Event, ...] = ()
    replacement: bytes | None = None
    hold_until_ns: int = 0
    redirect: Redirect | None = None

    @property
    def lets_go(self) -> bool:
        """Whether the kernel may pass the rest of the connection by itself, both ways."""
        return self.offload & Offload.PASS == Offload.PASS


PASS = Decision()
"""Let it through, keep looking: the answer to nearly every packet."""
