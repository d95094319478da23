"""What a box remembers of each connection, and of how many.

`FlowTable` is bounded and expires by named values; nothing in here decides anything.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import TYPE_CHECKING

from middlebox.events import FlowName
from middlebox.filters.fields import NO_QUOTA
from middlebox.flow import Direction, Side
from middlebox.seqnum import distance
from middlebox.stream import Stream

if TYPE_CHECKING:
    from middlebox.dissect.base import Alive, Dissector
    from middlebox.live_rules import LiveRules
    from middlebox.packet import Packet
    from middlebox.policer import Policer
    from middlebox.profile import Rule
    from middlebox.program import Program
    from middlebox.translation import Translation

EndKey = tuple[bytes, int, bytes, int]
"""(source address, source port + protocol * 65536, destination address, destination port) of one direction."""

DROPS_REMEMBERED = 8
"""Dropped segments of one direction whose retransmission is recognised (chosen)."""


class HandshakeStep(IntEnum):
    """How far the three-way handshake has been seen."""

    NONE = 0
    SYN = 1
    SYN_ACK = 2
    DONE = 3


# Taken out of their enums once: looking them up there costs as much as the rest of a step.
_NO_STEP = HandshakeStep.NONE
_TO_SERVER = Direction.CLIENT_TO_SERVER


class Half(Stream):
    """What one end of a connection has sent, as the box has seen it."""

    __slots__ = ("data_packets", "dropped")

    def __init__(self) -> None:
        super().__init__()
        self.data_packets = 0  # with payload, as far as the box takes them seriously
        self.dropped: list[tuple[int, int, Rule]] | None = None  # (seq, length, why) of what may not pass

    def remember_drop(self, p: Packet, rule: Rule) -> None:
        """These bytes were dropped: they may not pass either when they are sent again."""
        length = p.end - p.payload_start
        if length:
            self.dropped = [*(self.dropped or [])[1 - DROPS_REMEMBERED :], (p.seq, length, rule)]

    def dropped_by(self, p: Packet) -> Rule | None:
        """The rule that dropped some of these bytes before."""
        length = p.end - p.payload_start
        for seq, dropped_length, rule in self.dropped or ():
            ahead = distance(seq, p.seq)
            if length and -length < ahead < dropped_length:
                return rule
        return None


class Account:
    """What one subscriber has used, and may use."""

    __slots__ = ("bytes", "quota")

    def __init__(self, quota: int = NO_QUOTA) -> None:
        self.bytes = 0
        self.quota = quota


NO_ACCOUNT = Account()
"""Of connections that nobody's rules ask about; never counted."""

NOT_BLOCKED: tuple[Rule | None, Rule | None] = (None, None)
_NO_MARKS: frozenset[str] = frozenset()


class Flow:
    """One connection in the table. It is also what own fields (`flow.*`, `subscriber.*`, `box.*`) read from.

    `direction` and `ingress` belong to the packet at hand and are set anew for each. `stopped`: some of it was dropped
    before, so each packet has to be looked up there. `treated`: every packet has to be handled, whatever rules may
    match, as it is policed or translated.
    """

    __slots__ = (
        "key", "client_side", "last_ns", "generation", "program", "subscriber", "dissector", "alive",
        "live", "live_for", "halves", "handshake", "packets", "bytes", "own_marks", "marks", "direction", "ingress",
        "stopped", "blocked", "treated", "account", "policer", "translation",
    )  # fmt: skip

    def __init__(self, key: EndKey, client_side: Side, now_ns: int) -> None:
        self.key = key
        self.client_side = client_side
        self.last_ns = now_ns
        self.generation = 0  # of the rules; 0 is never in force
        self.program: Program | None = None
        self.subscriber = ""
        self.account = NO_ACCOUNT
        self.dissector: Dissector | None = None
        self.alive: Alive | None = None
        self.live: LiveRules | None = None  # not yet found, or to be found anew
        self.live_for: Alive | None = None  # what was alive when they were found; later it can only be less
        self.halves = (Half(), Half())
        self.handshake = _NO_STEP
        self.packets = self.bytes = 0
        self.own_marks = self.marks = _NO_MARKS  # `marks`: and those of its hosts, for the packet at hand
        self.direction = _TO_SERVER
        self.ingress = client_side
        self.stopped = self.treated = False
        self.blocked = NOT_BLOCKED  # per direction: the rule that stopped it
        self.policer: Policer | None = None
        self.translation: Translation | None = None

    @property
    def subscriber_bytes(self) -> int:
        return self.account.bytes

    @property
    def subscriber_quota(self) -> int:
        return self.account.quota

    @property
    def data_packets(self) -> int:
        """In the direction of the packet at hand."""
        return self.halves[self.direction].data_packets

    def ends(self, direction: Direction) -> EndKey:
        """(source, its port, destination, its port) of what travels in `direction`."""
        client, client_port, server, server_port = self.key
        if direction is Direction.CLIENT_TO_SERVER:
            return client, client_port & 0xFFFF, server, server_port & 0xFFFF
        return server, server_port & 0xFFFF, client, client_port & 0xFFFF

    def block(self, rule: Rule, directions: Iterable[Direction]) -> None:
        """Nothing passes in these directions any more, because of `rule`."""
        to_server, to_client = self.blocked
        for direction in directions:
            if direction is Direction.CLIENT_TO_SERVER:
                to_server = rule
            else:
                to_client = rule
        self.blocked = (to_server, to_client)
        self.stopped = True

    def lose_track(self, direction: Direction) -> None:
        """Bytes of this direction have passed that nobody has read."""
        self.halves[direction].lose_track()
        if self.dissector is not None:
            self.dissector.restart(direction)

    def lose_what_was_let_go(self) -> None:
        """The kernel is asked about this connection anew: what it has passed meanwhile, nobody has read."""
        if self.live is not None and self.live.answer.offload:
            for direction in Direction:
                if self.live.answer.offload & 1 << direction:
                    self.lose_track(direction)

    def give_dissector(self) -> None:
        """Whatever it speaks is not known yet."""
        assert self.program is not None
        _, port, _, server_port = self.key
        self.dissector = self.program.dissector(port >> 16, port & 0xFFFF, server_port & 0xFFFF)
        self.alive = self.dissector.alive if self.dissector is not None else None

    def keep(self, dissector: Dissector) -> None:
        """It has found out more: of several that were possible only what is left is kept, and nothing of nothing."""
        self.alive = alive = dissector.alive
        self.dissector = dissector.remaining if alive[0] or alive[1] else None

    @property
    def lost_count(self) -> bool:
        """Whether the box does not know what the client says next."""
        return self.halves[0].next_seq is None

    def read_anew(self) -> None:
        """The box has lost count of both ends: what comes next is taken as it comes, and for the beginning."""
        for half in self.halves:
            half.lose_track()
        self.live = None
        self.give_dissector()

    def start_over(self) -> None:
        """Other rules apply from now on: what the old ones have begun ends, but numbers stay translated."""
        self.blocked = NOT_BLOCKED
        self.policer = None
        self.stopped, self.treated = False, self.translation is not None
        for half in self.halves:
            half.dropped = None
            half.lose_track()

    @property
    def name(self) -> FlowName:
        """The connection as events name it; made anew each time, since most are named once and remembered long."""
        client, port, server, server_port = self.key
        return FlowName(client, port & 0xFFFF, server, server_port & 0xFFFF, port >> 16)


ADDRESSES_KEPT = 65_536
"""Different addresses of which a table keeps one copy each (chosen); who comes after them begins another collection."""

SECOND_CHANCES = 4
"""How many of the oldest entries are looked at for each new one (chosen: keeps up, and stays flat)."""


class FlowTable:
    """Connections by their client's end. Bounded by `max_flows`; who was idle for `idle_ns` goes.

    Entries stand in the order in which they came or were last found busy (the "clock" algorithm), so that expiry costs
    a few steps per new connection however large the table is.
    """

    __slots__ = ("max_flows", "idle_ns", "_flows", "_addresses", "get")

    def __init__(self, max_flows: int, idle_ns: int) -> None:
        self._flows: dict[EndKey, Flow] = {}
        self._addresses: dict[bytes, bytes] = {}
        self.get = self._flows.get
        """The connection whose client sends packets with this key."""
        self.resize(max_flows, idle_ns)

    def resize(self, max_flows: int, idle_ns: int) -> None:
        """Other bounds from now on."""
        self.max_flows = max_flows
        self.idle_ns = idle_ns
        while len(self._flows) > max_flows:
            del self._flows[next(iter(self._flows))]

    def __len__(self) -> int:
        return len(self._flows)

    def add(self, flow: Flow) -> None:
        """Remember a connection in place of any other between the same ends; without room, another one is forgotten."""
        flows = self._flows
        src, sport, dst, dport = flow.key
        flow.key = key = (self._one(src), sport, self._one(dst), dport)
        flows.pop(key, None)
        flows.pop((dst, dport, src, sport), None)
        self._expire(flow.last_ns)
        if len(flows) >= self.max_flows:
            del flows[next(iter(flows))]
        flows[key] = flow

    def _one(self, address: bytes) -> bytes:
        """The same address, kept once for all connections of a host: there are many more of these than of hosts."""
        if len(self._addresses) >= ADDRESSES_KEPT:
            self._addresses.clear()
        return self._addresses.setdefault(address, address)

    def remove(self, flow: Flow) -> None:
        """Forget a connection; nothing happens when it is not there."""
        self._flows.pop(flow.key, None)

    def _expire(self, now_ns: int) -> None:
        flows = self._flows
        for _ in range(min(SECOND_CHANCES, len(flows))):
            key = next(iter(flows))
            oldest = flows.pop(key)
            if now_ns - oldest.last_ns < self.idle_ns:
                flows[key] = oldest  # still in use: to the end of the line
                if len(flows) < self.max_flows:
                    return
