"""Packets of one new connection that wait in the queue together.

The kernel knows a connection only from when its first packet has left (conntrack confirms it there). What came
meanwhile has an entry of its own, and leaves as a stranger with the same name: the kernel drops it (TCP; of datagrams
it drops the entry). Such a packet is sent on by the injection port instead, as if it had just come.

It must never take a packet for a twin that the kernel knows, or whose elder has left: what is sent past conntrack
is missing there. Source: Linux, net/netfilter/nf_conntrack_core.c, nf_ct_resolve_clash.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from middlebox.ends import ends_of, turned
from middlebox.kernel import DROPPED
from middlebox.packet import PROTOCOL_TCP

TWINS_REMEMBERED = 65_536
"""Connections that begin before the queue is empty again; beyond so many nobody is taken for a twin (chosen)."""


class Answerable(Protocol):
    """What can be said of a queued packet."""

    def accept(self) -> None: ...
    def drop(self) -> None: ...
    def repeat(self) -> None: ...
    def set_mark(self, mark: int) -> None: ...
    def set_payload(self, data: bytes) -> None: ...


class Begun:
    """Connections that have begun since the queue was empty last, or whose first packet is held."""

    __slots__ = ("_held", "_names")

    def __init__(self) -> None:
        self._names: set[bytes] = set()
        self._held: dict[bytes, int] = {}

    def has_twin(self, data: bytes) -> bool:
        """Of a packet whose connection the kernel does not know: whether another one was before it in the queue."""
        name = ends_of(data)
        if name in self._names:
            return True
        if name and len(self._names) < TWINS_REMEMBERED:
            self._names.add(name)
            self._names.add(turned(name))
        return False

    def hold(self, data: bytes, until_ns: int) -> None:
        """A packet of a connection that the kernel does not know stays in the queue until then."""
        name = ends_of(data)
        if name in self._names:
            self._held[name] = self._held[turned(name)] = max(until_ns, self._held.get(name, 0))

    def forget(self, now_ns: int) -> None:
        """Nobody waits any more but those that are held."""
        if self._names:
            self._names.clear()
            if self._held:
                self._held = {name: until_ns for name, until_ns in self._held.items() if until_ns > now_ns}
                self._names.update(self._held)


def is_lost(data: bytes) -> bool:
    """Whether the kernel drops a twin like this one; where not, it goes on by itself."""
    return data[9 if data[0] >> 4 == 4 else 6] == PROTOCOL_TCP


class Twin:
    """A queued packet that does not go on itself. What is decided for its connection is left to its elder."""

    __slots__ = ("_data", "_mark", "_queued", "_send")

    def __init__(self, queued: Answerable, data: bytes, send: Callable[[bytes], None]) -> None:
        """send: puts a packet on its way, data as it leaves the box."""
        self._queued = queued
        self._data = data
        self._send = send
        self._mark = 0

    def accept(self) -> None:
        self._queued.drop()
        self._send(self._data)

    def drop(self) -> None:
        self._queued.drop()

    def repeat(self) -> None:
        if self._mark & DROPPED:
            self.drop()
        else:
            self.accept()

    def set_mark(self, mark: int) -> None:
        self._mark = mark

    def set_payload(self, data: bytes) -> None:
        self._data = data
