"""Twins: who is taken for one, and what becomes of a verdict on it."""

from __future__ import annotations

import pytest

from middlebox.kernel import ANSWERED, DROPPED
from middlebox.packet import PSH, SYN, tcp_segment
from middlebox.twins import Begun, Twin, is_lost

CLIENT, SERVER = bytes((192, 0, 2, 1)), bytes((203, 0, 113, 25))


def segment(*, sport: int = 20001, backwards: bool = False, flags: int = SYN) -> bytes:
    src, dst, ports = (SERVER, CLIENT, (25, sport)) if backwards else (CLIENT, SERVER, (sport, 25))
    return tcp_segment(
        src=src, dst=dst, sport=ports[0], dport=ports[1], seq=1, ack=0, flags=flags, window=1, ttl=64
    )


class Queued:
    """A packet in the queue; remembers what was said of it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def accept(self) -> None:
        self.said.append("accept")

    def drop(self) -> None:
        self.said.append("drop")

    def repeat(self) -> None:
        self.said.append("repeat")

    def set_mark(self, mark: int) -> None:
        self.said.append(f"mark {mark}")

    def set_payload(self, data: bytes) -> None:
        self.said.append(f"payload {data!r}")


def test_second_packet_of_a_connection_is_a_twin_whichever_way_it_goes() -> None:
    """Until nobody waits any more."""
    begun = Begun()
    assert not begun.has_twin(segment())
    assert begun.has_twin(segment(flags=PSH))
    assert begun.has_twin(segment(backwards=True))
    assert not begun.has_twin(segment(sport=20002))
    begun.forget(0)
    assert not begun.has_twin(segment())


def test_packet_that_is_held_has_twins_until_it_leaves() -> None:
    """The queue is empty meanwhile, and the kernel knows no more of the connection than before."""
    begun = Begun()
    begun.hold(segment(), 50)  # nobody has asked about it: no connection that the kernel does not know
    begun.forget(10)
    assert not begun.has_twin(segment())
    begun.hold(segment(), 50)
    begun.hold(segment(), 40)
    begun.forget(49)
    assert begun.has_twin(segment())
    begun.forget(50)
    assert not begun.has_twin(segment())


def test_datagram_is_a_twin_too_but_the_kernel_keeps_it() -> None:
    """It is not the first of its connection, whatever its own entry says."""
    begun = Begun()
    tcp = segment()
    udp = tcp[:9] + b"\x11" + tcp[10:]
    assert [begun.has_twin(udp), begun.has_twin(udp)] == [False, True]
    assert (is_lost(tcp), is_lost(udp)) == (True, False)


def test_what_has_no_name_is_no_twin() -> None:
    """Neither a packet of no known IP version nor one that is cut off: each goes its own way."""
    begun = Begun()
    for data in (b"\x46" + segment()[1:], b"\x45"):
        assert [begun.has_twin(data), begun.has_twin(data)] == [False, False]


@pytest.mark.parametrize(("mark", "goes_on"), [(None, True), (ANSWERED, True), (ANSWERED | DROPPED, False)])
def test_twin_goes_on_by_another_way_with_what_it_was_changed_to(mark: int | None, goes_on: bool) -> None:
    """The kernel is told to drop it; what was decided for its connection is not said."""
    for changed in (None, b"changed"):
        queued, sent = Queued(), []
        twin = Twin(queued, b"as it came", sent.append)
        if changed is not None:
            twin.set_payload(changed)
        if mark is None:
            twin.accept()
        else:
            twin.set_mark(mark)
            twin.repeat()
        assert sent == ([changed or b"as it came"] if goes_on else [])
        assert queued.said == ["drop"]
