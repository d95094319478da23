"""The table of connections: bounded, expiring, flat."""

from __future__ import annotations

from middlebox.dissect import DEFAULT_PORTS, dissector_for
from middlebox.dissect.base import NOTHING_ALIVE
from middlebox.dissect.http import HttpDissector
from middlebox.flow import Direction, Side
from middlebox.flowtable import DROPS_REMEMBERED, EndKey, Flow, FlowTable, Half
from tests.unit.talk import rule
from tests.unit.test_middlebox_forge import segment

SECOND_NS = 1_000_000_000
RULE = rule("tcp")


def flow(number: int, now_ns: int = 0) -> Flow:
    key: EndKey = (number.to_bytes(4, "big"), 1, b"\0\0\0\1", 2)
    return Flow(key, Side.INSIDE, now_ns)


def test_table_never_holds_more_than_its_bound() -> None:
    """Each new connection beyond the bound puts another one out."""
    table = FlowTable(max_flows=10, idle_ns=SECOND_NS)
    for number in range(25):
        table.add(flow(number))
    assert len(table) == 10


def test_table_forgets_who_was_idle() -> None:
    """A connection not seen for the idle time is gone when others come."""
    table = FlowTable(max_flows=1000, idle_ns=SECOND_NS)
    old = flow(1, now_ns=0)
    table.add(old)
    table.add(flow(2, now_ns=2 * SECOND_NS))
    assert table.get(old.key) is None
    assert len(table) == 1


def test_table_keeps_who_is_busy() -> None:
    """A connection that was seen lately survives, however long ago it came."""
    table = FlowTable(max_flows=1000, idle_ns=SECOND_NS)
    busy = flow(1, now_ns=0)
    table.add(busy)
    for number in range(2, 50):
        now = number * SECOND_NS // 10
        busy.last_ns = now
        table.add(flow(number, now))
    assert table.get(busy.key) is busy


def test_table_full_of_busy_connections_puts_out_one_of_them() -> None:
    """The bound holds even when nobody is idle."""
    table = FlowTable(max_flows=3, idle_ns=SECOND_NS)
    for number in range(5):
        table.add(flow(number))
    assert len(table) == 3


def test_table_remove_twice_is_harmless() -> None:
    """Removing what is not there does nothing."""
    table = FlowTable(max_flows=3, idle_ns=SECOND_NS)
    entry = flow(1)
    table.add(entry)
    table.remove(entry)
    table.remove(entry)
    assert len(table) == 0


def test_dropped_segments_remembered_are_bounded() -> None:
    """The last few are recognised when they come again, in whole or in part."""
    half = Half()
    for number in range(DROPS_REMEMBERED + 3):
        half.remember_drop(segment(seq=1000 * number), RULE)
    assert half.dropped is not None
    assert len(half.dropped) == DROPS_REMEMBERED
    assert half.dropped_by(segment(seq=0)) is None
    assert half.dropped_by(segment(seq=1000 * DROPS_REMEMBERED + 9)) is RULE
    assert half.dropped_by(segment(seq=1000 * DROPS_REMEMBERED + 10)) is None


def test_table_never_holds_both_ways_round() -> None:
    """A connection the other way between the same ends takes the place of the old one."""
    table = FlowTable(max_flows=10, idle_ns=SECOND_NS)
    old = flow(1)
    src, sport, dst, dport = old.key
    table.add(old)
    table.add(Flow((dst, dport, src, sport), Side.OUTSIDE, 0))
    assert table.get(old.key) is None
    assert len(table) == 1


def test_table_keeps_one_copy_of_an_address() -> None:
    """A server of a hundred thousand connections has one address, and so have the few hosts that ask it."""
    table = FlowTable(max_flows=200_000, idle_ns=SECOND_NS)
    for port in range(100):
        client, server = bytes([192, 0, 2, port % 3]), bytes([203, 0, 113, 1])
        table.add(Flow((client, port, server, 443), Side.INSIDE, 0))
    kept = [
        table.get((bytes([192, 0, 2, port % 3]), port, bytes([203, 0, 113, 1]), 443)) for port in range(100)
    ]
    addresses = [address for known in kept if known is not None for address in known.key[::2]]
    assert len(addresses) == 200
    assert len({id(address) for address in addresses}) == 4


def test_connection_keeps_no_dissector_that_can_find_nothing() -> None:
    """Of several candidates it keeps the one that is left, and of none nothing."""
    known = flow(1)
    candidates = dissector_for(4711, frozenset({"tls", "http"}), DEFAULT_PORTS)
    assert candidates is not None
    candidates.feed(Direction.CLIENT_TO_SERVER, b"GET / HTTP/1.1\r\n", {})
    known.keep(candidates)
    assert isinstance(known.dissector, HttpDissector)
    assert "http" in known.alive[Direction.CLIENT_TO_SERVER]
    refuted = dissector_for(4711, frozenset({"tls", "http"}), DEFAULT_PORTS)
    assert refuted is not None
    refuted.feed(Direction.CLIENT_TO_SERVER, b"\xfe\xed", {})
    known.keep(refuted)
    assert known.dissector is None
    assert known.alive == NOTHING_ALIVE


def test_table_made_smaller_forgets_some() -> None:
    """A reload may bring other bounds."""
    table = FlowTable(max_flows=10, idle_ns=SECOND_NS)
    for number in range(5):
        table.add(flow(number))
    table.resize(2, SECOND_NS)
    assert len(table) == 2
