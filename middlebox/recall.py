"""EDGE. What went on unasked before a packet that is asked about: the SYN of its connection, and the first that its
client said. The kernel has kept the one with the connection and sent a copy of the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from middlebox.conntrack import Conntrack
from middlebox.copies import ends_as_sent
from middlebox.decision import PASS, Decision
from middlebox.events import Event
from middlebox.flow import Direction, Side
from middlebox.judges import JudgesPackets
from middlebox.kernel import COPIED, LABEL_BYTES, LOG_GROUP, ORIGINAL
from middlebox.nflog import CopiedPackets
from middlebox.packet import Packet, tcp_segment


class Recalled(NamedTuple):
    """A packet that a client has sent. ingress: its side of the box. at_ns: when; of a SYN, no earlier than that."""

    data: bytes
    ingress: Side
    at_ns: int


class Recall:
    """What one box can call back."""

    def __init__(self) -> None:
        """OSError: the kernel keeps or tells no such things."""
        self.copied = CopiedPackets(LOG_GROUP)
        try:
            self._conntrack = Conntrack()
        except OSError:
            self.copied.close()
            raise

    def before(self, p: Packet, mark: int, ingress: Side, now_ns: int) -> list[Recalled]:
        """What went on before this packet, in order. mark: of the packet. Nothing: it is not known any more."""
        ends = (p.src, p.dst, p.sport, p.dport)
        if not mark & ORIGINAL:
            ends, ingress = (p.dst, p.src, p.dport, p.sport), ingress.opposite
        header = self._conntrack.label_of(*ends)
        if len(header) < LABEL_BYTES or not any(header):
            return []
        copy = self.copied.of(ends_as_sent(*ends), now_ns) if mark & COPIED else None
        if mark & COPIED and copy is None:
            return []
        at_ns = now_ns if copy is None else copy.at_ns
        syn = Recalled(_syn(*ends, header), ingress, at_ns)
        return [syn] if copy is None else [syn, Recalled(copy.data, ingress, at_ns)]

    def close(self) -> None:
        self.copied.close()
        self._conntrack.close()


def show(
    engine: JudgesPackets, before: Iterable[Recalled], *, rules_since_ns: int
) -> tuple[Decision, list[Event]]:
    """Have an engine take note of what went on unasked. Returned: what it says to the last, and whom it has seen.

    RuntimeError: by the rules that were in force then it should have been asked, a bug.
    """
    decision = PASS
    seen: list[Event] = []
    for packet in before:
        decision = engine.handle(
            packet.data,
            packet.at_ns,
            packet.ingress,
            Direction.CLIENT_TO_SERVER,
            first=False,
            has_passed=True,
        )
        if decision.forged and packet.at_ns > rules_since_ns:
            raise RuntimeError("expected no rule to match a packet that went on unasked")
        seen += [event for event in decision.events if event.kind == "flow_seen"]
    return decision, seen


def _syn(src: bytes, dst: bytes, sport: int, dport: int, header: bytes) -> bytes:
    """As it was, but for its options and its way here."""
    return tcp_segment(
        src=src, dst=dst, sport=sport, dport=dport, seq=int.from_bytes(header[4:8]), ack=int.from_bytes(header[8:12]),
        flags=header[13], window=int.from_bytes(header[14:16]), ttl=64,
    )  # fmt: skip
