"""EDGE. What went on unasked before a packet that is asked about: the SYN of its connection, and the first that its
client said. The kernel has kept the one with the connection and sent a copy of the other.

It never has a packet judged, only read: by the rules of its time it could match none, and by others it need not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

from middlebox.conntrack import Conntrack, Entry
from middlebox.copies import ends_as_sent
from middlebox.decision import PASS, Decision
from middlebox.events import Event
from middlebox.flow import Direction, Side
from middlebox.judges import JudgesPackets
from middlebox.kernel import COPIED, LABEL_BYTES, LOG_GROUP, NOTED, ORIGINAL, REPLY
from middlebox.nflog import CopiedPackets
from middlebox.packet import PROTOCOL_TCP, Packet, decode, tcp_segment
from middlebox.seqnum import is_of_connection

CONNECTIONS_REMEMBERED: Final = 65_536
"""That have been caught up with (chosen): what conntrack calls invalid does not say so by its mark."""
_NOTHING: Final[tuple[Decision, list[Event]]] = (PASS, [])


class _Ends(NamedTuple):
    """Of a connection, client first."""

    src: bytes
    dst: bytes
    sport: int
    dport: int


class Recall:
    """What one box can call back. `lost`: of how many connections something was gone when it was looked for."""

    def __init__(self) -> None:
        """OSError: the kernel keeps or tells no such things."""
        self.lost = 0
        self._read: dict[tuple[_Ends, bytes], None] = {}
        self.copied = CopiedPackets(LOG_GROUP)
        try:
            self._conntrack = Conntrack()
        except OSError:
            self.copied.close()
            raise

    def catch_up(
        self, engine: JudgesPackets, p: Packet, mark: int, ingress: Side, now_ns: int
    ) -> tuple[Decision, list[Event]]:
        """Have an engine read what went on unasked before this packet, once. mark: of the packet.

        Returned: what it says to the last of it, and whom it has seen.
        """
        found = self._connection_of(p, mark)
        if found is None:
            return _NOTHING
        ends, entry = found
        if (ends, entry.label) in self._read:
            return _NOTHING
        if len(self._read) >= CONNECTIONS_REMEMBERED:
            del self._read[next(iter(self._read))]
        self._read[ends, entry.label] = None
        clients_side = ingress if ends.src == p.src and ends.sport == p.sport else ingress.opposite
        decision = PASS
        seen: list[Event] = []
        for data, at_ns in self._said(ends, entry, now_ns):
            decision = engine.handle(
                data, at_ns, clients_side, Direction.CLIENT_TO_SERVER, first=False, has_passed=True
            )
            seen += [replace(event, time_ns=now_ns) for event in decision.events]
            if decision.lets_go:
                break  # what comes next would be taken for a stranger's
        return decision, seen

    def _connection_of(self, p: Packet, mark: int) -> tuple[_Ends, Entry] | None:
        """The connection of a packet, if anything of it went on unasked. What conntrack calls invalid, without flags or
        before its time, belongs to none there, but to one for the box."""
        sent, answered = _Ends(p.src, p.dst, p.sport, p.dport), _Ends(p.dst, p.src, p.dport, p.sport)
        if mark & NOTED:
            ends = sent if mark & ORIGINAL else answered
            entry = self._conntrack.find(*ends)
            if entry is not None and entry.mark & NOTED:
                return None  # that one is newer: its own was asked about, and says so no longer
            if entry is None or not _has_header(entry):
                self.lost += 1
                return None
            return ends, entry._replace(mark=mark)  # as it was when the packet was asked about
        if mark & (ORIGINAL | REPLY) or p.protocol != PROTOCOL_TCP:
            return None
        for ends in (sent, answered):
            entry = self._conntrack.find(*ends)
            if entry is not None and _has_header(entry):
                return ends, entry
        return None

    def _said(self, ends: _Ends, entry: Entry, now_ns: int) -> list[tuple[bytes, int]]:
        """Packets of a client, oldest first, each with the time at which it came; of the SYN that is not known."""
        syn = _syn(ends, entry.label)
        copy = self.copied.of(ends_as_sent(*ends), now_ns)
        if not entry.mark & NOTED:  # no longer: whether there was a copy, its number has to tell
            said = copy is not None and _follows(copy.data, entry.label)
        else:
            said = bool(entry.mark & COPIED)
            if said and copy is None:
                self.lost += 1
                return []
        if copy is None or not said:
            return [(syn, now_ns)]
        at_ns = min(copy.at_ns, now_ns)
        return [(syn, at_ns), (copy.data, at_ns)]

    def close(self) -> None:
        self.copied.close()
        self._conntrack.close()


def _has_header(entry: Entry) -> bool:
    return len(entry.label) >= LABEL_BYTES and any(entry.label)


def _follows(data: bytes, header: bytes) -> bool:
    """Whether a segment is of the connection that began with this header."""
    p = decode(data)
    return p is not None and is_of_connection(int.from_bytes(header[4:8]), p.seq)


def _syn(ends: _Ends, header: bytes) -> bytes:
    """As it was, but for its options and its way here."""
    return tcp_segment(
        src=ends.src, dst=ends.dst, sport=ends.sport, dport=ends.dport, seq=int.from_bytes(header[4:8]),
        ack=int.from_bytes(header[8:12]), flags=header[13], window=int.from_bytes(header[14:16]), ttl=64,
    )  # fmt: skip
