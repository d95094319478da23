"""How the box reads one TCP segment: which checks it makes, what it takes for the stream, what it dissects.

These are the knobs of `profile.TcpReading`; each decides whether some evasion works (Wang17 table 3, Khattak13).
"""

from __future__ import annotations

from middlebox import packet as wire
from middlebox.dissect.base import Dissector, Fields
from middlebox.flow import Direction
from middlebox.flowtable import Flow, Half, HandshakeStep
from middlebox.packet import Packet
from middlebox.profile import TcpReading
from middlebox.program import Program
from middlebox.seqnum import distance


def reads_payload_of(p: Packet, flow: Flow, reading: TcpReading) -> bool:
    """Whether the box takes this segment seriously. What it does not, it neither remembers nor matches."""
    if reading.checks_checksum and not _checksum_holds(p):
        return False
    if p.data_offset < 5:
        if reading.checks_data_offset:
            return False
        p.payload_start = min(p.l4 + wire.TCP_HEADER_BYTES, p.end)
    if p.flags & (wire.SYN | wire.FIN | wire.RST):
        _note_control(p, flow)
    elif flow.handshake is HandshakeStep.SYN_ACK and flow.direction is Direction.CLIENT_TO_SERVER:
        flow.handshake = HandshakeStep.DONE
    if reading.handshake and flow.handshake is not HandshakeStep.DONE and p.end > p.payload_start:
        return False
    return not reading.checks_ack or _ack_is_plausible(p, flow.halves[1 - flow.direction])


def read_segment(p: Packet, flow: Flow, program: Program, fields: Fields) -> None:
    """Put the payload into its stream and add what the dissector finds to `fields`.

    Afterwards `p.stream_tail` holds the bytes before the payload, and `flow.alive` what may still be found.
    """
    if p.end == p.payload_start or not program.reads_streams:
        return
    stream = flow.halves[flow.direction]
    seq = (p.seq + 1) & 0xFFFFFFFF if p.flags & wire.SYN else p.seq
    dissector = flow.dissector
    if dissector is not None and not dissector.alive[flow.direction] and not flow.couples_directions:
        dissector = None
    if stream.goes_on_at(seq, program.profile.tcp):
        _read_on(p, flow, stream, seq, program.window_bytes, dissector, fields)
    else:
        _read_out_of_order(p, flow, stream, seq, program, dissector, fields)
    if dissector is not None and dissector.alive is not flow.alive:
        flow.alive = dissector.alive


def read_datagram(p: Packet, flow: Flow, dissector: Dissector, fields: Fields) -> None:
    """Add what the dissector finds in a packet that is no TCP segment, unless it is a later fragment of one."""
    whole = p.payload_start > p.l4 if p.protocol == wire.PROTOCOL_UDP else not p.fragment_offset
    if whole and p.end > p.payload_start and dissector.alive[flow.direction]:
        dissector.feed(flow.direction, p.payload, fields)
        flow.alive = dissector.alive


def _read_on(
    p: Packet,
    flow: Flow,
    stream: Half,
    seq: int,
    window_bytes: int,
    dissector: Dissector | None,
    fields: Fields,
) -> None:
    """The usual segment, in order: its payload, which may be 64 kB, is copied only if a dissector wants it."""
    start, end = p.payload_start, p.end
    stream.next_seq = (seq + end - start) & 0xFFFFFFFF
    if window_bytes:
        tail = p.stream_tail = stream.tail
        if end - start >= window_bytes:
            stream.tail = p.data[end - window_bytes : end]
        else:
            stream.tail = (tail + p.data[start:end])[-window_bytes:]
    if dissector is not None:
        dissector.feed(flow.direction, p.data[start:end], fields)


def _read_out_of_order(
    p: Packet,
    flow: Flow,
    stream: Half,
    seq: int,
    program: Program,
    dissector: Dissector | None,
    fields: Fields,
) -> None:
    """A segment that is early, late, or fills a hole; what can be read now may be more or less than its payload."""
    window_bytes = program.window_bytes
    for data, joined in stream.accept(seq, p.payload, program.profile.tcp):
        if window_bytes:
            tail = stream.tail if joined else b""
            _show_all_of(p, tail, data)
            stream.tail = (tail + data)[-window_bytes:]
        if dissector is not None:
            if not joined:
                dissector.restart(flow.direction)
            dissector.feed(flow.direction, data, fields)


def _show_all_of(p: Packet, tail: bytes, data: bytes) -> None:
    """A segment that fills a hole makes bytes readable that came before it in time: show rules all of them."""
    p.data = p.data[: p.payload_start] + data
    p.end = len(p.data)
    p.stream_tail = tail


def _checksum_holds(p: Packet) -> bool:
    """A sender that leaves the checksum to its network card writes the sum of the pseudo-header; that is right too."""
    if wire.checksum_is_right(p):
        return True
    length = p.end - p.l4
    pseudo = p.src + p.dst + length.to_bytes(4, "big") + p.protocol.to_bytes(4, "big")
    return p.transport_checksum == wire.ones_complement_sum(pseudo)


def _note_control(p: Packet, flow: Flow) -> None:
    """SYN starts a stream; the handshake is followed step by step."""
    if not p.flags & wire.SYN:
        return
    stream = flow.halves[flow.direction]
    if p.flags & wire.ACK:
        if flow.direction is Direction.SERVER_TO_CLIENT and flow.handshake is HandshakeStep.SYN:
            flow.handshake = HandshakeStep.SYN_ACK
    elif flow.handshake is HandshakeStep.NONE:
        flow.handshake = HandshakeStep.SYN
    if stream.next_seq is None:
        stream.start((p.seq + 1) & 0xFFFFFFFF)


def _ack_is_plausible(p: Packet, peer: Half) -> bool:
    """RFC 9293 3.10.7.4: an acknowledgment of something that was never sent is not for this connection."""
    if not p.flags & wire.ACK or peer.next_seq is None:
        return True
    return distance(peer.next_seq, p.ack) <= 0
