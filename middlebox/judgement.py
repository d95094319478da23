"""What the rules come to for one packet: collected rule by rule, then turned into one Decision.

Counterpart of `decision`, which is the answer; this is how it grows. Lives for one packet.
"""

from __future__ import annotations

from collections.abc import Callable

from middlebox import events
from middlebox.decision import Decision, Forged, Offload, Verdict
from middlebox.events import Event, Trigger
from middlebox.flow import Direction
from middlebox.flowtable import Flow
from middlebox.packet import Packet
from middlebox.profile import Rule
from middlebox.program import Program


class Judgement:
    """One packet before the rules. `trigger` is worked out once, by the first who needs it."""

    __slots__ = (
        "packet",
        "flow",
        "program",
        "now_ns",
        "verdict",
        "offload",
        "forged",
        "events",
        "replacement",
        "hold_until_ns",
        "acting",
        "punished",
        "flags",
        "flagged_by",
        "_trigger",
    )

    def __init__(self, packet: Packet, flow: Flow, program: Program, now_ns: int) -> None:
        self.packet = packet
        self.flow = flow
        self.program = program
        self.now_ns = now_ns
        self.verdict = Verdict.ACCEPT
        self.offload = Offload.NONE
        self.forged: list[Forged] = []
        self.events: list[Event] = []
        self.replacement: bytes | None = None
        self.hold_until_ns = 0
        self.acting: list[Rule] = []  # whose filter matched, and whose dice said so
        self.punished = False  # its connection, by a residual, so every packet of it has to be seen
        self.flags: int | None = None  # the TCP flags it goes on with, and who says so
        self.flagged_by: Rule | None = None
        self._trigger: Trigger | None = None

    @property
    def trigger(self) -> Trigger:
        if self._trigger is None:
            self._trigger = Trigger.of(self.packet)
        return self._trigger

    @property
    def profile(self) -> str:
        return self.program.profile.name

    def forge(self, rule: Rule, direction: Direction, forged: Forged) -> None:
        """Send this packet, and write down why."""
        towards = "server" if direction is Direction.CLIENT_TO_SERVER else "client"
        self.forged.append(forged)
        self.events.append(
            events.packet_forged(
                self.now_ns,
                self.flow.name,
                rule=rule.name,
                profile=self.profile,
                towards=towards,
                direction=direction,
                packet=forged.data,
                delay_ns=forged.send_at_ns - self.now_ns,
                trigger=self.trigger,
            )
        )

    def drop(self, rule: Rule) -> None:
        """Do not let the packet pass, and write down why; once is enough."""
        if self.verdict is Verdict.DROP:
            return
        self.verdict = Verdict.DROP
        self._note(events.packet_dropped, rule)

    def note_rewritten(self, rule: Rule, replacement: bytes) -> None:
        """Write down why this goes on instead of the packet."""
        self._note(events.packet_rewritten, rule, rewritten=replacement)

    def hold(self, rule: Rule, until_ns: int) -> None:
        """Let the packet go on later, and write down why; the longest wait counts."""
        self.hold_until_ns = max(self.hold_until_ns, until_ns)
        self._note(events.packet_held, rule, until_ns=until_ns)

    def _note(self, event: Callable[..., Event], rule: Rule, **more: bytes | int) -> None:
        """What is done to the packet itself. event: of those in `events` that take a rule and its packet."""
        self.events.append(
            event(
                self.now_ns,
                self.flow.name,
                rule=rule.name,
                profile=self.profile,
                direction=self.flow.direction,
                packet=self.trigger,
                **more,
            )
        )

    def decision(self) -> Decision:
        return Decision(
            self.verdict,
            self.offload,
            tuple(self.forged),
            tuple(self.events),
            self.replacement if self.verdict is Verdict.ACCEPT else None,
            self.hold_until_ns,
        )
