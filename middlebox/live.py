"""EDGE. A running box: packets from the kernel's queue to the engine, its answers back, in one thread.

The order of an answer is what makes an on-path box honest: first the verdict (the packet goes on, through the whole of
the kernel, before the call returns), then what is forged. A forged packet with a delay waits in a heap.

It must never let an exception of the engine stop the traffic: the packet is accepted (or dropped when the box fails
closed), the bug is written down, and the run is invalid.
"""

from __future__ import annotations

import select
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from heapq import heappop, heappush
from typing import Any, Final

from middlebox import events, signals
from middlebox.decision import PASS, Decision, Forged, Offload, Verdict
from middlebox.eventlog import EVENTS_AT_ONCE, EventLog
from middlebox.firewall import Firewall
from middlebox.flow import Direction, Side
from middlebox.injector import Injector
from middlebox.judges import JudgesPackets
from middlebox.kernel import (
    ANSWERED,
    DROPPED,
    ELEPHANT,
    FIRST,
    NOTED,
    ORIGINAL,
    REPLY,
    STRANGE,
    generation_of,
    redirect_mark,
)
from middlebox.nfqueue import NEVER_NS, PREROUTING, Overflow, Pace, Queue, QueuedPacket
from middlebox.packet import SYN, decode
from middlebox.profile import Deployment
from middlebox.recall import Recall
from middlebox.shortcut import Elephant
from middlebox.twins import Answerable, Begun, Twin, is_lost
from middlebox.wants import plan_for

ERRORS_WRITTEN: Final = 20
"""A bug that strikes at every packet must not fill the disk (chosen); all are counted."""

_MS: Final = 1_000_000
_HOUSEKEEPING_NS: Final = 1_000 * _MS
# select() may be late by a thousandth of the time it is asked to wait: come back early, then wait the rest.
_COARSE_NS: Final = 2 * _MS
_COLLECT_EVERY: Final = 64
"""After so many packets copies are taken that have come meanwhile (chosen: an ordinary user's socket holds few)."""


def wall_clock() -> Callable[[], int]:
    """Nanoseconds since 1970 that never step back while the box runs, whatever happens to the machine's clock."""
    offset = time.time_ns() - time.monotonic_ns()
    return lambda: time.monotonic_ns() + offset


class Box:
    """One box at work. `run` returns when it was told to stop; everything it counts is for `run_ended`."""

    def __init__(
        self,
        engine: JudgesPackets,
        *,
        inside: str,
        firewall: Firewall,
        queue_number: int,
        queue_packets: int,
        injector: Injector,
        recall: Recall | None,
        log: EventLog,
        fail_open: bool,
        clock: Callable[[], int],
    ) -> None:
        self.packets = self.forged = self.dropped = self.held = self.offloaded = self.errors = 0
        self.overflow = Overflow(0, 0)
        self.unsent = 0
        self._engine = engine
        self._generation = engine.generation
        self._punishing = engine.punishing
        self._inside_index = socket.if_nametoindex(inside)
        self._firewall = firewall
        self._sees_syn = firewall.plan.sees_syn
        self._injector = injector
        self._recall = recall
        self._log = log
        self._fail_open = fail_open
        self._clock = clock
        self._later: list[tuple[int, int, Callable[[], None]]] = []
        self._put_off = 0
        self._stopping = False
        self._reload: Callable[[], Sequence[Deployment]] | None = None
        self._housekeeping_ns = 0
        self._pace = Pace()
        self._begun = Begun()
        self.queue = Queue(queue_number, self._on_packet, self._pace, max_packets=queue_packets)
        self.queue.hand_out_whole(on=firewall.plan.whole_packets)

    # --- from signal handlers ----------------------------------------------------------------------------------

    def stop(self) -> None:
        """End `run` after the packet at hand."""
        self._stopping = True
        self._pace.due_ns = 0

    def reload(self, load: Callable[[], Sequence[Deployment]]) -> None:
        """Take up what `load` returns, after the packet at hand; what it raises keeps the old."""
        self._reload = load
        self._pace.due_ns = 0

    # --- the loop ----------------------------------------------------------------------------------------------

    def run(self, wakeup: socket.socket) -> None:
        """Serve until `stop`. `wakeup`: readable whenever a signal has come (`signal.set_wakeup_fd`)."""
        pace = self._pace
        copied = None if self._recall is None else self._recall.copied
        readable = [self.queue.fileno(), wakeup.fileno(), *([copied.fileno()] if copied else [])]
        pace.due_ns = 0
        while not self._stopping:
            now = pace.now_ns = self._clock()
            if now >= pace.due_ns:
                self._do_what_is_due(now)
            ready, _, _ = select.select(readable, (), (), self._seconds_to_wait())
            if not ready and not self.queue.waiting:
                self._log.flush(EVENTS_AT_ONCE)
                continue
            if readable[1] in ready:
                signals.drain(wakeup)
            pace.now_ns = self._clock()
            if copied is not None and copied.fileno() in ready:
                copied.collect(pace.now_ns)
            if self.queue.serve():
                self._begun.forget(pace.now_ns)

    def finish(self) -> None:
        """After the rules are gone: answer what still waits in the queue and count what was lost."""
        self._pace.due_ns = NEVER_NS
        self.queue.serve()
        self._count_overflow()
        for _, _, action in self._later:
            if isinstance(action, partial):
                self.unsent += 1
            else:
                action()  # a held packet: the kernel would drop it with the queue
        self.queue.close()
        if self._recall is not None:
            self._recall.close()

    def _seconds_to_wait(self) -> float:
        if self._log.pending or self.queue.waiting:
            return 0.0
        left_ns = self._pace.due_ns - self._clock()
        if left_ns > _COARSE_NS:
            left_ns -= _COARSE_NS // 2
        return max(left_ns, 0) / 1e9

    def _do_what_is_due(self, now: int) -> None:
        """Everything that waits for its time or was asked for by a signal; says when the next of it is due."""
        while self._later and self._later[0][0] <= now:
            heappop(self._later)[2]()
        change_ns = self._engine.next_change_ns
        if change_ns is not None and change_ns <= now:
            self._log.write(self._engine.advance(now))
            if self._engine.generation != self._generation:
                self._generation_changed(now)
            elif self._engine.punishing != self._punishing:
                self._see_more_or_less()
        if self._reload is not None:
            self._take_up(self._reload, now)
        if self._firewall.busy:
            self._firewall.collect()
        if now >= self._housekeeping_ns:
            self._count_overflow()
            self._housekeeping_ns = now + _HOUSEKEEPING_NS
        self._pace.due_ns = self._housekeeping_ns
        if self._later:
            self._bring_forward(self._later[0][0])
        self._bring_forward(self._engine.next_change_ns)
        if self._firewall.busy:
            self._bring_forward(now + _MS)
        if self._stopping or self._reload is not None:  # a signal has come meanwhile
            self._pace.due_ns = 0

    def _bring_forward(self, due_ns: int | None) -> None:
        if due_ns is not None and due_ns < self._pace.due_ns:
            self._pace.due_ns = due_ns

    # --- packets -----------------------------------------------------------------------------------------------

    def _on_packet(self, packet: QueuedPacket) -> None:
        data = packet.get_payload()  # valid only now: copied before anything else
        now = self._pace.now_ns = self._clock()
        ingress = Side.INSIDE if packet.indev == self._inside_index else Side.OUTSIDE
        mark = packet.mark
        if mark & ELEPHANT:
            self._let_in(packet, data, ingress, now)
            return
        self.packets += 1
        if self._recall is not None and not self.packets % _COLLECT_EVERY:
            self._recall.copied.collect(now)
        if packet.hook == PREROUTING:
            self._lead(packet, data, ingress, now)
            return
        sent_by = None
        if mark & ORIGINAL:
            sent_by = Direction.CLIENT_TO_SERVER
        elif mark & REPLY:
            sent_by = Direction.SERVER_TO_CLIENT
        # An engine that is shown every SYN knows better what a new connection is: some are sent twice.
        first = bool(mark & FIRST) and not self._sees_syn
        asked: Answerable = packet
        if mark & STRANGE and self._begun.has_twin(data):
            first = False
            if is_lost(data):
                asked = Twin(packet, data, self._injector.send)
        try:
            may_be_behind = mark & NOTED or (self._firewall.notes and not mark & (ORIGINAL | REPLY))
            decision = self._catch_up(data, mark, ingress, now) if may_be_behind else None
            if decision is None:
                decision = self._engine.handle(data, now, ingress, sent_by, first=first)
        except Exception as error:  # noqa: BLE001  a bug in the engine must not stop the traffic
            self._answer_after_failure(error, asked, data, now)
            return
        if decision is PASS:
            asked.accept()
        else:
            if mark & STRANGE and decision.hold_until_ns > now:
                self._begun.hold(data, decision.hold_until_ns)
            self._answer(asked, decision, now)
        if self._engine.generation != self._generation:
            self._generation_changed(now)

    def _catch_up(self, data: bytes, mark: int, ingress: Side, now: int) -> Decision | None:
        """Have the engine read what went on unasked before this packet. None: it has to see this packet too."""
        p = decode(data)
        if self._recall is None or p is None:
            return None
        said, seen = self._recall.catch_up(self._engine, p, mark, ingress, now)
        self._log.write(seen)
        return Decision(offload=Offload.PASS) if said.lets_go and not p.flags & SYN else None

    def _let_in(self, packet: QueuedPacket, data: bytes, ingress: Side, now: int) -> None:
        """The engine has no business with this packet: the kernel reports that its connection carries much."""
        packet.accept()
        p = decode(data)
        if p is not None:
            ends = (p.src, p.sport, p.dst, p.dport)
            elephant = Elephant(*ends) if ingress is Side.INSIDE else Elephant(*ends[2:], *ends[:2])
            self._firewall.let_in(elephant, generation_of(packet.mark), now)
            if self._firewall.busy:
                self._bring_forward(now + _MS)

    def _lead(self, packet: QueuedPacket, data: bytes, ingress: Side, now: int) -> None:
        """Say where a connection goes that begins; the packet comes again afterwards, unless it was redirected."""
        try:
            decision = self._engine.lead(data, now, ingress)
        except Exception as error:  # noqa: BLE001  as above
            self._answer_after_failure(error, packet, data, now)
            return
        if decision.redirect is not None:
            packet.set_mark(redirect_mark(self._firewall.plan, decision.redirect))
        packet.accept()
        if decision.events:
            self._log.write(decision.events)

    def _answer_after_failure(self, error: Exception, packet: Answerable, data: bytes, now: int) -> None:
        self._engine_failed(error, data, now)
        if self._fail_open:
            packet.accept()
        else:
            packet.drop()

    def _answer(self, packet: Answerable, decision: Decision, now: int) -> None:
        drop = decision.verdict is Verdict.DROP
        self.dropped += drop
        verdict = packet.drop if drop else packet.accept
        if decision.replacement is not None:
            packet.set_payload(decision.replacement)
        if decision.offload and self._engine.generation == self._generation:
            self.offloaded += 1
            mark = ANSWERED | (DROPPED if drop else 0)
            generation = self._firewall.generation

            def verdict() -> None:
                # A packet that was held meanwhile decides nothing for others if the rules have changed.
                still_true = generation == self._firewall.generation
                packet.set_mark(mark | int(decision.offload) if still_true else mark)
                packet.repeat()

        if decision.hold_until_ns > now:
            self.held += 1
            self._do_later(decision.hold_until_ns, verdict)  # the kernel keeps it meanwhile
        else:
            verdict()
        if decision.forged:
            self._forge(decision.forged, now)
        if decision.events:
            self._log.write(decision.events)
            self._bring_forward(self._engine.next_change_ns)

    def _forge(self, forged: Iterable[Forged], now: int) -> None:
        for one in forged:
            if one.send_at_ns <= now:
                self._send(one.data)
            else:
                self._do_later(one.send_at_ns, partial(self._send, one.data))

    def _send(self, data: bytes) -> None:
        self._injector.send(data)
        self.forged += 1

    def _do_later(self, due_ns: int, action: Callable[[], None]) -> None:
        self._put_off += 1  # keeps what is due at the same moment in order
        heappush(self._later, (due_ns, self._put_off, action))
        self._bring_forward(due_ns)

    # --- what else happens -------------------------------------------------------------------------------------

    def _generation_changed(self, now: int) -> None:
        self._generation = self._engine.generation
        if self._engine.punishing != self._punishing:
            self._see_more_or_less()
        else:
            self._firewall.next_generation()
            self._bring_forward(now + _MS)

    def _see_more_or_less(self) -> None:
        """Who is punished is punished on his next packet: the kernel has the other plan before it is looked at."""
        self._punishing = self._engine.punishing
        self._firewall.change_plan(plan_for(*self._engine.deployments, punishing=self._punishing))
        self._sees_syn = self._firewall.plan.sees_syn

    def _take_up(self, load: Callable[[], Sequence[Deployment]], now: int) -> None:
        self._reload = None
        try:
            deployments = load()
        except Exception as error:  # noqa: BLE001  whatever is wrong with it, the old one stays in force
            print(f"reload failed, the old profile stays in force: {error}", file=sys.stderr, flush=True)
            self._log.write([events.reload_failed(now, reason=str(error))])
            return
        self._log.write(self._engine.reload(deployments, now))
        self._generation = self._engine.generation
        self._see_more_or_less()
        self.queue.hand_out_whole(on=self._firewall.plan.whole_packets)

    def _engine_failed(self, error: Exception, data: bytes, now: int) -> None:
        self.errors += 1
        if self.errors <= ERRORS_WRITTEN:
            trace = "".join(traceback.format_exception(error))
            self._log.write([events.engine_error(now, error=repr(error), traceback=trace, packet=data)])

    def _count_overflow(self) -> None:
        overflow = self.queue.overflow()
        if overflow != self.overflow:
            self.overflow = overflow
            self._log.write(
                [
                    events.queue_overflow(
                        self._clock(), dropped=overflow.dropped, user_dropped=overflow.user_dropped
                    )
                ]
            )

    # --- the end -----------------------------------------------------------------------------------------------

    @property
    def valid(self) -> bool:
        """Whether everything that happened was judged by the engine."""
        return not self.errors and self.overflow == Overflow(0, 0) and not self._copies_lost

    @property
    def _copies_lost(self) -> int:
        return self._recall.lost + self._recall.copied.lost if self._recall is not None else 0

    def figures(self) -> dict[str, Any]:
        """What `run_ended` says."""
        return {
            "valid": self.valid, "packets": self.packets, "forged": self.forged, "dropped": self.dropped,
            "held": self.held, "undecoded": self._engine.undecoded,
            "offloaded_flows": self.offloaded, "elephants": self._firewall.elephants.count,
            "unsent": self.unsent, "engine_errors": self.errors, "copies_lost": self._copies_lost,
            "queue": self.overflow._asdict() | {"receive_buffer_bytes": self.queue.receive_buffer_bytes},
        }  # fmt: skip
