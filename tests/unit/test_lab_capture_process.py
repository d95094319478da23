"""Unit: the capture process ends all its rings at one and the same moment, none later for being the last in line."""

from __future__ import annotations

import os
import socket
import time

from lab.capture_process import Point, serve


class SlowPoint(Point):
    """A point whose ring takes long to empty; no packet socket needed."""

    def __init__(self) -> None:
        self.socket, self._peer = socket.socketpair()
        self.ends_ns: list[int] = []
        self.finished_ns = 0

    def finish(self, until_ns: int) -> None:
        self.ends_ns.append(until_ns)
        time.sleep(0.002)
        self.finished_ns = time.time_ns()

    def close(self) -> None:
        self.socket.close()
        self._peer.close()


def test_capture_process_ends_all_points_at_one_moment() -> None:
    """What passed until then is kept at every point, what passed later at none, however long emptying takes."""
    points = [SlowPoint(), SlowPoint(), SlowPoint()]
    stop_r, stop_w = os.pipe()
    began_ns = time.time_ns()
    os.write(stop_w, b"x")
    serve(points, stop_r)
    assert [point.ends_ns for point in points] == [points[0].ends_ns] * 3
    (end_ns,) = points[0].ends_ns
    assert began_ns <= end_ns <= points[0].finished_ns < points[-1].finished_ns
    for fd in (stop_r, stop_w):
        os.close(fd)
    for point in points:
        point.close()
