"""The capture process: every packet of many interfaces, in many namespaces, into one pcapng file each.

`python -m lab.capture_process CONFIG` opens all of them, prints one JSON line when packets are being kept, and
on SIGTERM empties every ring, prints one more line with the counts, and ends. The kernel puts a packet into the
ring while the packet passes: what a program has received was in all rings before that, so a ring that is emptied
afterwards has lost nothing. A ring that was full has, and the kernel counts what.

It must never send, and never change what it sees. Its counterpart is `lab/capture.py`.
Sources: packet(7); Linux Documentation/networking/packet_mmap.rst (TPACKET_V2).
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.netns import in_network_of
from lab.pcapng import Heading, Record, Writer

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _TPACKET_V2 = 263, 5, 6, 10, 1
_TP_STATUS_KERNEL, _TP_STATUS_USER = 0, 1
_HEADER = struct.Struct("=IIIHHII")
"""struct tpacket2_hdr: status, length, captured, offset of the frame, and of its payload, seconds, nanoseconds."""
_STATUS = struct.Struct("=I")
_PACKET_TYPE_OFFSET = 32 + 10
"""Of sll_pkttype: the struct sockaddr_ll comes after the 32 bytes of the header."""
_PACKET_OUTGOING = 4
_BLOCK_BYTES = 131_072
_NO_END = 1 << 63

_libc = ctypes.CDLL(None, use_errno=True)


class Point:
    """One interface being captured: `make_ring`, `begin`, `drain`..., `finish`, `close`."""

    def __init__(self, spec: Mapping[str, Any], *, frame_bytes: int, ring_bytes: int) -> None:
        """frame_bytes: room in the ring for a packet and its header, a power of two up to _BLOCK_BYTES."""
        self.name: str = spec["name"]
        self.packets = 0
        self.dropped = 0
        self._interface: str = spec["interface"]
        self._frame_bytes = frame_bytes
        self._ring_bytes = ring_bytes
        self._frames = ring_bytes // frame_bytes
        self._next = 0
        with in_network_of(spec["pid"]):
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # 0: nothing yet
        self._file = Path(spec["path"]).open("wb")  # noqa: SIM115  open until finish()
        self._writer = Writer(self._file)
        self._writer.add_interface(
            self._interface, snap_bytes=frame_bytes if frame_bytes < _BLOCK_BYTES else 0
        )

    def make_ring(self) -> None:
        """Have the kernel make the ring; it takes its time."""
        self.socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
        blocks = self._ring_bytes // _BLOCK_BYTES
        request = struct.pack("=IIII", _BLOCK_BYTES, blocks, self._frame_bytes, self._frames)
        # not socket.setsockopt(): it holds the interpreter's lock while the kernel waits
        if _libc.setsockopt(self.socket.fileno(), _SOL_PACKET, _PACKET_RX_RING, request, len(request)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"ring of {self._ring_bytes} bytes: {os.strerror(number)}")

    def begin(self) -> None:
        """From here on every packet is kept."""
        self._ring = mmap.mmap(self.socket.fileno(), self._ring_bytes)
        self.socket.bind((self._interface, _ETH_P_ALL))
        self._file.flush()

    def drain(self, until_ns: int = _NO_END) -> None:
        """Write down what the ring holds now, as far as it passed no later than that (ns since 1970).

        Once round at most: where packets come faster than they are written, the other rings must have their turn.
        """
        ring = self._ring
        for _ in range(self._frames):
            at = self._next * self._frame_bytes
            status, length, captured, start, _, seconds, nanoseconds = _HEADER.unpack_from(ring, at)
            if not status & _TP_STATUS_USER:
                break
            heading = Heading.OUT if ring[at + _PACKET_TYPE_OFFSET] == _PACKET_OUTGOING else Heading.IN
            frame = ring[at + start : at + start + captured]
            _STATUS.pack_into(ring, at, _TP_STATUS_KERNEL)
            self._next = (self._next + 1) % self._frames
            time_ns = seconds * 1_000_000_000 + nanoseconds
            if time_ns <= until_ns:
                self._writer.write(Record(self._interface, time_ns, frame, length, heading))
                self.packets += 1
        self._file.flush()

    def finish(self, until_ns: int) -> None:
        """Empty the ring for the last time, of what passed until then, and close the file."""
        self.drain(until_ns)
        seen, self.dropped = struct.unpack("=II", self.socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))
        self._writer.write_statistics(
            self._interface, time_ns=time.time_ns(), received=seen, dropped=self.dropped
        )
        self._file.close()

    def close(self) -> None:
        """Give the ring back; it takes its time."""
        self._ring.close()
        self.socket.close()


def serve(points: Sequence[Point], stop_fd: int) -> None:
    """Capture all points until `stop_fd` can be read; their files are complete then."""
    by_fd = {point.socket.fileno(): point for point in points}
    poller = select.poll()
    for fd in (*by_fd, stop_fd):
        poller.register(fd, select.POLLIN)
    while True:
        readable = [fd for fd, _ in poller.poll()]
        if stop_fd in readable:
            break
        for fd in readable:
            by_fd[fd].drain()
    # One moment for all, or what is sent while the rings are emptied would have arrived at one end and left no other.
    end_ns = time.time_ns()
    for point in points:
        point.finish(end_ns)


def _at_once(calls: Iterable[Callable[[], None]]) -> None:
    """Make all calls in threads: the kernel waits 10 to 30 ms in each, and they can wait together."""
    errors: list[OSError] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except OSError as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def main() -> int:
    """See the top of this file."""
    stop_r, stop_w = os.pipe()
    os.set_blocking(stop_w, False)
    signal.set_wakeup_fd(stop_w)
    signal.signal(signal.SIGTERM, lambda *_: None)
    config = json.loads(Path(sys.argv[1]).read_text())
    sizes = {name: config[name] for name in ("frame_bytes", "ring_bytes")}
    points = [Point(spec, **sizes) for spec in config["points"]]
    _at_once(point.make_ring for point in points)
    for point in points:
        point.begin()
    print(json.dumps({"ready": True}), flush=True)
    serve(points, stop_r)
    counts = {point.name: {"packets": point.packets, "dropped": point.dropped} for point in points}
    print(json.dumps(counts), flush=True)
    _at_once(point.close for point in points)
    return 0


if __name__ == "__main__":
    sys.exit(main())
