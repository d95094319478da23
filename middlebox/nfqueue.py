"""EDGE. The kernel's packet queue. The only file that knows netfilterqueue.

It hands packets out and does not judge them. netfilterqueue has no calls for three things that matter here, so they are
said to the kernel directly on the queue's own netlink socket: whole GSO packets (NFQA_CFG_F_GSO), the whole of each
packet (the library asks for 4 kB), and a read buffer that holds one. Overflow is never assumed away: the library
hides it, the kernel counts it.

Fail-open of the queue itself (NFQA_CFG_F_FAIL_OPEN) is not asked for: packets would pass unseen *and uncounted*.

Sources: linux/netfilter/nfnetlink_queue.h, linux/netfilter/nfnetlink.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from errno import EAGAIN, ENOBUFS
from pathlib import Path
from socket import MSG_DONTWAIT
from typing import Final, NamedTuple

from netfilterqueue import COPY_PACKET, NetfilterQueue, Packet as QueuedPacket

from middlebox.netlink import ACK, attribute, error_of, is_answer, message

__all__ = ["NEVER_NS", "PREROUTING", "Overflow", "Pace", "Queue", "QueuedPacket"]

QUEUE_PACKETS: Final = 16_384
"""How many packets may wait for a verdict (chosen: a burst of one second at 16,000 packets a second)."""
SOCKET_BYTES: Final = 32 << 20
"""Receive buffer of the netlink socket; the kernel counts what does not fit as user_dropped (chosen)."""

NEVER_NS: Final = 1 << 62
PREROUTING: Final = 0
"""`QueuedPacket.hook` of what has not been routed yet (linux/netfilter.h, NF_INET_PRE_ROUTING)."""

_COPY_BYTES = 0xFFFF - 4  # the largest that fits a netlink attribute with its header
_READ_BYTES = 0xFFFF + 1024  # one message: packet and its attributes

_QUEUE, _CONFIG = 3, 2
_NFQA_CFG_PARAMS, _NFQA_CFG_QUEUE_MAXLEN, _NFQA_CFG_MASK, _NFQA_CFG_FLAGS = 2, 3, 4, 5
_NFQA_CFG_F_GSO = 4
_SO_RCVBUFFORCE = 33


class Overflow(NamedTuple):
    """What the kernel could not hand over: no room in the queue, no room in the socket."""

    dropped: int
    user_dropped: int


class Pace:
    """How long `Queue.serve` goes on: until `now_ns`, kept by its callback, has reached `due_ns`.

    Anybody may bring `due_ns` forward meanwhile, a signal handler too.
    """

    __slots__ = ("due_ns", "now_ns")

    def __init__(self) -> None:
        self.now_ns = 0
        self.due_ns = NEVER_NS


class Queue:
    """One bound queue. `serve` calls `on_packet` for each packet; the callback gives the verdict on it."""

    def __init__(
        self,
        number: int,
        on_packet: Callable[[QueuedPacket], None],
        pace: Pace,
        *,
        max_packets: int = QUEUE_PACKETS,
    ) -> None:
        """OSError: the kernel has no queues, does not allow it, or another program serves this one."""
        self.number = number
        self._queue = NetfilterQueue()
        self._socket = socket.socket(fileno=os.dup(self._queue.get_fd()))
        # The library warns unless it gets exactly what it asks for: ask for what the socket has anyway.
        granted = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._queue.bind(number, on_packet, max_len=max_packets, mode=COPY_PACKET, sock_len=granted // 2)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, SOCKET_BYTES)
        except PermissionError:  # root of a user namespace only: the machine's own limit applies
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BYTES)
        self.receive_buffer_bytes = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._reader = _Reader(self._socket, pace)
        self._whole: bool | None = None
        self._configure(attribute(_NFQA_CFG_PARAMS, struct.pack("!IB", _COPY_BYTES, COPY_PACKET)))
        self.overflow()  # not readable: better said now than at the end of a run

    def hand_out_whole(self, *, on: bool) -> None:
        """Whether packets come as the kernel keeps them, up to 64 kB with the checksum still to be written, or cut into
        what a wire carries, which is slower but can be rewritten."""
        if on is self._whole:
            return
        self._whole = on
        flag = struct.pack("!I", _NFQA_CFG_F_GSO)
        self._configure(attribute(_NFQA_CFG_FLAGS, flag if on else bytes(4)), attribute(_NFQA_CFG_MASK, flag))

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def waiting(self) -> bool:
        """Whether packets were read that `serve` has not handed out: the socket does not tell of them any more."""
        return bool(self._reader.early)

    def serve(self) -> bool:
        """Hand out what is waiting, and return when nothing is (True) or when something else is due."""
        self._reader.emptied = False
        self._queue.run_socket(self._reader)  # type: ignore[arg-type]  # all it uses is recv()
        return self._reader.emptied

    def overflow(self) -> Overflow:
        """What was lost since the queue was bound."""
        for line in Path("/proc/net/netfilter/nfnetlink_queue").read_text().splitlines():
            numbers = [int(word) for word in line.split()]
            if numbers[0] == self.number:
                return Overflow(numbers[5], numbers[6])
        return Overflow(0, 0)

    def close(self) -> None:
        """Give the queue back. The kernel drops what still waits in it: serve to the end first."""
        self._queue.unbind()
        self._socket.close()

    def _configure(self, *attributes: bytes) -> None:
        """Send one NFQNL_MSG_CONFIG and wait for the kernel's answer."""
        asked = message(_QUEUE, _CONFIG, *attributes, flags=ACK, resource=self.number)
        self._socket.sendto(asked, (0, 0))
        while not is_answer(answer := self._next_message()):
            self._reader.early.append(answer)  # a packet that was in the queue already
        if error := error_of(answer):
            raise OSError(error, f"queue {self.number}: {os.strerror(error)}")

    def _next_message(self) -> bytes:
        while True:
            try:
                return self._socket.recv(_READ_BYTES)
            except OSError as error:
                if error.errno != ENOBUFS:  # that one is counted by the kernel, see `overflow`
                    raise


class _Reader:
    """What `run_socket` takes for a socket: reads whole messages, never blocks, stops on time."""

    __slots__ = ("_pace", "_receive", "early", "emptied")

    def __init__(self, source: socket.socket, pace: Pace) -> None:
        self._receive = source.recv
        self._pace = pace
        self.early: deque[bytes] = deque()
        self.emptied = False

    def recv(self, _size: int) -> bytes:
        if self._pace.now_ns >= self._pace.due_ns:
            raise BlockingIOError(EAGAIN, "something else is due")
        if self.early:
            return self.early.popleft()
        try:
            return self._receive(_READ_BYTES, MSG_DONTWAIT)
        except BlockingIOError:
            self.emptied = True
            raise
