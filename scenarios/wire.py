"""What a capture shows of one connection, from one end's side: counted, for `wire:` expectations.

    syn, syn-ack, rst, fin, data   segments of that kind (data: with payload)
    keepalive        a segment without new bytes, one below what is next: is anybody there? (RFC 9293 3.8.4)
    retransmission   a segment whose bytes (SYN and FIN count as one) that end had all sent before, by this capture
    zero-window      window 0, other than in a RST
    pause            payload that comes a given time or more after the packet before it
    line             a line of clear text that begins with given words
    lost             a packet that its sender's capture has and its receiver's has not
    overtaken        a packet that arrived later than one that was sent after it

Must never: look at the events, or count what the box forged; both are left out by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from middlebox.packet import ACK, FIN, RST, SYN, Packet
from scenarios.captures import Captured
from scenarios.crossings import in_order
from scenarios.journeys import Journey
from scenarios.model import ExpectWire
from scenarios.vocabulary import STAGES

_BEFORE_HANDSHAKE, _BEFORE_DATA, _DATA, _ENDED = STAGES

_FLAGS = {"syn": (SYN | ACK, SYN), "syn-ack": (SYN | ACK, SYN | ACK), "rst": (RST, RST), "fin": (FIN, FIN)}
"""What -> (mask, value)."""


def count(expect: ExpectWire, packets: Sequence[Captured], sender: bytes, journeys: Sequence[Journey]) -> int:
    """How often it is there.

    packets: of one connection in one capture, both directions, by time; journeys: of that connection; sender: address
    """
    if expect.what == "line":
        return _lines(packets, sender, expect.text.encode())
    if expect.what == "lost":
        return sum(j.began_at == 0 and not j.arrived for j in journeys if j.packet.src == sender)
    if expect.what == "overtaken":
        return _overtaken([j for j in journeys if j.packet.src == sender])
    found = 0
    before_ns = packets[0].time_ns if packets else 0
    sent = _Sent()
    for stage, captured in staged(packets):
        p = captured.packet
        if p.src == sender:
            shown = _shows(expect, p, captured.time_ns - before_ns, sent)
            found += shown and expect.stage in (None, stage)
            sent.add(p)
        before_ns = captured.time_ns
    return found


def staged(packets: Sequence[Captured]) -> Iterator[tuple[str, Captured]]:
    """Each packet with how far the connection had come before it (STAGES)."""
    stage = _BEFORE_HANDSHAKE
    for captured in packets:
        yield stage, captured
        p = captured.packet
        if p.flags & FIN and not p.flags & RST:
            stage = _ENDED
        elif p.payload_len and stage != _ENDED:
            stage = _DATA
        elif p.flags & (SYN | ACK) == SYN | ACK and stage == _BEFORE_HANDSHAKE:
            stage = _BEFORE_DATA


class _Sent:
    """How far one end's stream has come."""

    def __init__(self) -> None:
        self.next_seq: int | None = None

    def add(self, p: Packet) -> None:
        if p.flags & RST:
            return
        end = (p.seq + _length(p)) & 0xFFFFFFFF
        if self.next_seq is None or _after(end, self.next_seq):
            self.next_seq = end

    def has_all(self, p: Packet) -> bool:
        return self.next_seq is not None and not _after(p.seq + _length(p) & 0xFFFFFFFF, self.next_seq)


def _length(p: Packet) -> int:
    """What a segment takes of the sequence space."""
    return p.payload_len + bool(p.flags & SYN) + bool(p.flags & FIN)


def _after(seq: int, other: int) -> bool:
    return 0 < (seq - other) & 0xFFFFFFFF < 1 << 31


def _shows(expect: ExpectWire, p: Packet, since_ns: int, sent: _Sent) -> bool:
    if expect.what in _FLAGS:
        mask, value = _FLAGS[expect.what]
        return p.flags & mask == value
    if expect.what == "data":
        return p.payload_len > 0
    if expect.what == "pause":
        return p.payload_len > 0 and since_ns >= expect.at_least_ns
    if expect.what == "zero-window":
        return p.window == 0 and not p.flags & RST
    below = sent.next_seq is not None and p.seq == sent.next_seq - 1 & 0xFFFFFFFF
    is_keepalive = below and p.payload_len <= 1 and not p.flags & (SYN | FIN | RST)
    if expect.what == "keepalive":
        return is_keepalive
    assert expect.what == "retransmission"
    return _length(p) > 0 and not p.flags & RST and not is_keepalive and sent.has_all(p)


def _lines(packets: Sequence[Captured], sender: bytes, begin: bytes) -> int:
    stream = b"".join(piece for piece, _ in in_order(c for c in packets if c.packet.src == sender))
    return sum(line.startswith(begin) for line in stream.split(b"\n"))


def _overtaken(journeys: Sequence[Journey]) -> int:
    """Packets that one sent later came before."""
    arrived = [j for j in journeys if j.began_at == 0 and j.arrived]
    arrived.sort(key=lambda j: j.seen[j.places[-1]].time_ns)
    overtaken, latest_ns = 0, 0
    for j in arrived:
        sent_ns = j.seen[j.places[0]].time_ns
        overtaken += sent_ns < latest_ns
        latest_ns = max(latest_ns, sent_ns)
    return overtaken
