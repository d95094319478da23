"""A real box around an engine that obeys: what a packet's payload says, it answers.

Not a test. `python -m tests.emulation.stand_in_box ARGUMENTS OF THE BOX`. Each packet that reaches it is written down
as the event `handled`, so that a test can tell what came to user space. Words of the payload:

    accept | drop       the verdict
    offload=N           flags of `decision.Offload`
    instead=HEX         what goes on in place of the packet
    hold=NS             how long the packet waits
    forge=HEX           a packet to send now;  later=NS:HEX  a packet to send in so many nanoseconds
    generation          decisions so far count no more
    raise               a bug in the engine
    crash               a bug of the edge: the answer is none
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from random import Random
from typing import Any

from middlebox.__main__ import main
from middlebox.decision import Decision, Forged, Offload, Verdict
from middlebox.events import Event
from middlebox.flow import Direction, Side
from middlebox.packet import decode
from middlebox.profile import Deployment


class ObedientEngine:
    """Does as the payload says."""

    next_change_ns: int | None = None
    punishing = False
    undecoded = 0

    def __init__(self, deployments: Sequence[Deployment], _rng: Random, _start_ns: int) -> None:
        self.deployments = tuple(deployments)
        self.generation = 1

    def handle(
        self,
        data: bytes,
        now_ns: int,
        ingress: Side,
        sent_by: Direction | None,
        *,
        first: bool,
        has_passed: bool = False,
    ) -> Decision:
        packet = decode(data)
        assert packet is not None
        words = packet.payload.decode("latin-1").split()
        handled = Event(
            "handled", now_ns, None,
            {
                "words": words, "length": len(data), "ingress": ingress.word,
                "sent_by": None if sent_by is None else sent_by.word, "first": first,
            },
        )  # fmt: skip
        verdict, offload, forged = Verdict.ACCEPT, Offload.NONE, []
        replacement, hold_until_ns = None, 0
        for word in words:
            name, _, value = word.partition("=")
            match name:
                case "drop":
                    verdict = Verdict.DROP
                case "offload":
                    offload = Offload(int(value))
                case "instead":
                    replacement = bytes.fromhex(value)
                case "hold":
                    hold_until_ns = now_ns + int(value)
                case "forge":
                    forged.append(Forged(bytes.fromhex(value), now_ns))
                case "later":
                    delay, _, packet_hex = value.partition(":")
                    forged.append(Forged(bytes.fromhex(packet_hex), now_ns + int(delay)))
                case "generation":
                    self.generation += 1
                case "raise":
                    raise RuntimeError("asked to")
                case "crash":
                    return nothing()
        return Decision(verdict, offload, tuple(forged), (handled,), replacement, hold_until_ns)

    def advance(self, _now_ns: int) -> tuple[Event, ...]:
        return ()

    def reload(self, deployments: Sequence[Deployment], now_ns: int) -> tuple[Event, ...]:
        self.deployments = tuple(deployments)
        self.generation += 1
        return (Event("reloaded", now_ns, None, {"profile": deployments[0].name}),)


def nothing() -> Any:
    """No Decision."""


if __name__ == "__main__":
    sys.exit(main(make_engine=ObedientEngine))
