"""How the box reads one TCP segment: which checks it makes, what it takes for the stream, what it dissects.

These are the knobs of `profile.TcpReading`; each decides whether some evasion works (Wang17 table 3, Khattak13).
"""

from __future__ import annotations

from middlebox import packet as wire
from middlebox.dissect.base import Fields
from middlebox.flowtable import Flow, Half, HandshakeStep
from middlebox.flow import Direction
from middlebox.packet import Packet
from middlebox.profile import Reassembly, TcpReading
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
    window_bytes = program.window_bytes
    seq = (p.seq + 1) & 0xFFFFFFFF if p.flags & wire.SYN else p.seq
    in_order = stream.next_seq is None or seq == stream.next_seq
    payload = p.payload
    if window_bytes and in_order:
        p.stream_tail = stream.tail
    for data, joined in stream.accept(seq, payload, program.profile.tcp):
        if window_bytes:
            _see_across_segments(p, stream.tail if joined else b"", data, payload, in_order)
            stream.tail = data[-window_bytes:] if len(data) >= window_bytes else (stream.tail + data)[-window_bytes:]
        dissector = flow.dissector
        if dissector is not None:
            if not joined:
                dissector.restart(flow.direction)
            dissector.feed(flow.direction, data, fields)
            if dissector.alive is not flow.alive:
                flow.alive = dissector.alive


def _see_across_segments(p: Packet, tail: bytes, data: bytes, payload: bytes, in_order: bool) -> None:
    """A segment that fills a hole makes bytes readable that came before it in time: show rules all of them."""
    if in_order and len(data) == len(payload):
        return
    p.data = p.data[: p.payload_start] + data
    p.end = len(p.data)
    p.stream_tail = tail


def _checksum_holds(p: Packet) -> bool:
    """A sender that leaves the checksum to its network card writes the sum of the pseudo-header only; that is right too."""
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
