"""The delay line: one process holds the packets of many links, in queues of many namespaces, until they are due.

    kernel queue ──► callback: when does it leave the wire? ──► heap, earliest first ──► accept when due

`python -m lab.delay_line CONFIG` reads the JSON that `link.delay_line_config` makes, prints one JSON line when
all queues are bound, and on SIGTERM lets everything go, prints one more with what it did, and ends.
The kernel copies nothing of a packet to here but, for a rate, the IP header with the length.

It must never reorder the packets of one direction, unless the link is there to do it, and never change one.
Sources: libnetfilter_queue; time(7) on timer slack.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from netfilterqueue import COPY_META, COPY_PACKET, NetfilterQueue, Packet

from lab.netns import in_network_of

_PR_SET_TIMERSLACK = 29
_IP_HEADER_BYTES = 40
_RECEIVE_BUFFER_BYTES = 4_194_304
"""Asked for; an ordinary user gets what net.core.rmem_max allows."""

_libc = ctypes.CDLL(None)


class Direction:
    """One direction of one link: a transmitter with a rate, then a wire with a delay."""

    def __init__(self, spec: Mapping[str, Any], dice: random.Random) -> None:
        self._delay_ns: int = spec["delay_ns"]
        self._jitter_ns: int = spec["jitter_ns"]
        self._rate_bits: int | None = spec["rate_bits"]
        self._loss: float = spec["loss"]
        self._reorder: float = spec["reorder"]
        self._dice = dice
        self._sent_ns = 0
        self._last_due_ns = 0

    @property
    def needs_length(self) -> bool:
        """True if `due_ns` must be told how long the packet is."""
        return self._rate_bits is not None

    def due_ns(self, now_ns: int, length_bytes: int) -> int | None:
        """When a packet that came now arrives at the other end; None: lost on the way."""
        if self._rate_bits is not None:
            self._sent_ns = max(now_ns, self._sent_ns) + length_bytes * 8_000_000_000 // self._rate_bits
            now_ns = self._sent_ns
        if self._loss and self._dice.random() < self._loss:
            return None
        if self._reorder and self._dice.random() < self._reorder:
            return now_ns
        jitter_ns = self._dice.randint(-self._jitter_ns, self._jitter_ns) if self._jitter_ns else 0
        # never before the packet ahead: a wire keeps its order
        self._last_due_ns = max(now_ns + self._delay_ns + jitter_ns, self._last_due_ns)
        return self._last_due_ns


class DelayLine:
    """Every queue of the lab, one heap, one loop."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.passed = 0
        self.lost = 0
        self._heap: list[tuple[int, int, Packet]] = []
        self._arrived = 0
        self._queues: dict[int, NetfilterQueue] = {}
        for spec in config["directions"]:
            dice = random.Random(f"{config['seed']} {spec['queue']}")
            with in_network_of(spec["pid"]):
                self._open(spec["queue"], Direction(spec, dice), config["queue_limit"])

    def _open(self, number: int, direction: Direction, limit: int) -> None:
        def hold(packet: Packet) -> None:
            length = _ip_length(packet.get_payload()) if direction.needs_length else 0
            due_ns = direction.due_ns(time.monotonic_ns(), length)
            if due_ns is None:
                self.lost += 1
                packet.drop()
                return
            self._arrived += 1
            heapq.heappush(self._heap, (due_ns, self._arrived, packet))

        queue = NetfilterQueue()
        mode, size = (COPY_PACKET, _IP_HEADER_BYTES) if direction.needs_length else (COPY_META, 0)
        queue.bind(number, hold, max_len=limit, mode=mode, range=size, sock_len=_RECEIVE_BUFFER_BYTES)
        self._queues[queue.get_fd()] = queue

    def serve(self, stop_fd: int) -> None:
        """Hold and let go until `stop_fd` can be read."""
        fds = [*self._queues, stop_fd]
        while True:
            timeout_s = max(self._heap[0][0] - time.monotonic_ns(), 0) / 1e9 if self._heap else None
            # select, as the only one of its family that takes less than a millisecond
            readable, _, _ = select.select(fds, [], [], timeout_s)
            for fd in readable:
                if fd == stop_fd:
                    self._release(None)
                    return
                self._queues[fd].run(block=False)
            self._release(time.monotonic_ns())

    def _release(self, now_ns: int | None) -> None:
        """Let go what is due; None: everything."""
        heap = self._heap
        while heap and (now_ns is None or heap[0][0] <= now_ns):
            heapq.heappop(heap)[2].accept()
            self.passed += 1


def _ip_length(header: bytes) -> int:
    """Length in bytes of the IP packet that begins with `header`."""
    if header[0] >> 4 == 6:
        return 40 + int.from_bytes(header[4:6], "big")
    return int.from_bytes(header[2:4], "big")


def main() -> int:
    """See the top of this file."""
    stop_r, stop_w = os.pipe()
    os.set_blocking(stop_w, False)
    signal.set_wakeup_fd(stop_w)
    signal.signal(signal.SIGTERM, lambda *_: None)
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with contextlib.suppress(PermissionError):  # punctual where allowed (root); else as the scheduler likes
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    line = DelayLine(json.loads(Path(sys.argv[1]).read_text()))
    print(json.dumps({"ready": True}), flush=True)
    line.serve(stop_r)
    print(json.dumps({"passed": line.passed, "lost": line.lost}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
