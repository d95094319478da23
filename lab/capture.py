"""Captures at both ends and on both sides of the box: ready before the traffic, complete after it, annotated.

    captures = lab.capture(["sim1", "mail", "box-inside", "box-outside"]);  captures.wait_ready()
    ...traffic...;  lab.wait_until_quiet();  captures.stop();  annotate(captures.paths["sim1"], comment_on)

It must never decide what was forged: the caller's function does, from the ground truth.
Its counterpart is `lab/capture_process.py`, which holds the sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab import pcapng
from lab.helper import Helper

RING_BYTES = 8 * 1024 * 1024
"""For each interface: room for 4096 packets as a wire carries them, while the capture process has no CPU."""

FRAME_BYTES = 2048
"""Room for one packet and its header in the ring; enough for an MTU of 1500 bytes."""

LARGE_FRAME_BYTES = 131_072
"""The same where offloads are on and a packet can have 64 kB."""


@dataclass(frozen=True, slots=True)
class CapturePoint:
    """An interface to capture and the file for it. pid: a process in its network namespace."""

    name: str
    pid: int
    interface: str
    path: Path


@dataclass(frozen=True, slots=True)
class CaptureCount:
    """What a capture saw. dropped: packets missing because the ring was full; a complete capture has 0."""

    packets: int
    dropped: int


class Captures:
    """Captures of several interfaces by one process. One file each, `paths` by name."""

    def __init__(
        self, points: Sequence[CapturePoint], *, config_path: Path, large_packets: bool = False
    ) -> None:
        """Begin to start; call `wait_ready` before any traffic that must be seen."""
        self.paths = {point.name: point.path for point in points}
        config = {
            "frame_bytes": LARGE_FRAME_BYTES if large_packets else FRAME_BYTES,
            "ring_bytes": RING_BYTES,
            "points": [
                {"name": point.name, "pid": point.pid, "interface": point.interface, "path": str(point.path)}
                for point in points
            ],
        }
        self._helper = Helper("lab.capture_process", config, config_path)

    def wait_ready(self) -> None:
        """Return once every packet on every interface is kept. LabError: the capture could not start."""
        self._helper.wait_ready()

    def stop(self) -> dict[str, CaptureCount]:
        """End the captures; every packet that has passed until now is in the files."""
        return {name: CaptureCount(**count) for name, count in self._helper.stop().items()}

    def end(self) -> None:
        """See the capture process gone; before `stop` the files are left as they are."""
        self._helper.end()


def annotate(path: Path, comment_on: Callable[[bytes, int], str | None]) -> int:
    """Rewrite a capture, ordered by time, with a comment on each packet for which `comment_on` has one.

    comment_on: is given a packet from its IP header on, as captured, and its time in ns since 1970.
    Returns how many packets got a comment. ValueError: not a capture of ours.
    """
    capture = pcapng.read(path)
    commented = 0
    beside = path.with_name(f".{path.name}.new")
    with beside.open("wb") as file:
        writer = pcapng.Writer(file)
        for name, snap_bytes in capture.interfaces.items():
            writer.add_interface(name, snap_bytes=snap_bytes)
        for record in sorted(capture.records, key=lambda one: one.time_ns):
            packet = record.ip_packet()
            comment = None if packet is None else comment_on(packet, record.time_ns)
            if comment:
                commented += 1
                record = replace(record, comment=comment)
            writer.write(record)
        for name, counts in capture.statistics.items():
            writer.write_statistics(
                name, time_ns=counts.time_ns, received=counts.received, dropped=counts.dropped
            )
    beside.replace(path)
    return commented
