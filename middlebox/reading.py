"""How the box reads one TCP segment: which checks it makes, what it takes for the stream, what it dissects.

These are the knobs of `profile.TcpReading`; each decides whether some evasion works (Wang17 table 3, Khattak13).
It must never change the packet itself: what rules are shown may be more or less than that.
"""

from __future__ import annotations

from copy import copy

from middlebox import packet as wire
from middlebox.dissect.base import Dissector, Fields
from middlebox.flow import Direction
from middlebox.flowtable import Flow, Half, HandshakeStep
from middlebox.packet import Packet
from middlebox.profile import Rewrite, Rule, SecondSyn, TcpReading
from middlebox.program import Program, all_actions
from middlebox.seqnum import distance

# Taken out of their enums once: looking them up there costs as much as the rest of a step.
_SYN_ACK, _DONE = HandshakeStep.SYN_ACK, HandshakeStep.DONE
_TO_SERVER = Direction.CLIENT_TO_SERVER
_NEW, _RESYNC = SecondSyn.NEW, SecondSyn.RESYNC
_CONTROL = wire.SYN | wire.FIN | wire.RST
_SMALLEST_DATA_OFFSET = 5 << 4


def is_sound(p: Packet, reading: TcpReading) -> bool:
    """Whether the segment passes the checks that the box makes of a segment by itself."""
    if not p.has_transport_header:
        return True
    if reading.checks_checksum and not _checksum_holds(p):
        return False
    return not reading.checks_data_offset or p.data[p.l4 + 12] >= _SMALLEST_DATA_OFFSET


def reads_payload_of(p: Packet, flow: Flow, program: Program) -> bool:
    """Whether the box takes this segment seriously. What it does not, it neither remembers nor matches."""
    reading = program.profile.tcp
    if reading.checks_checksum and not _checksum_holds(p):
        return False
    if p.data[p.l4 + 12] < _SMALLEST_DATA_OFFSET:
        if reading.checks_data_offset:
            return False
        p.payload_start = min(p.l4 + wire.TCP_HEADER_BYTES, p.end)
    if p.flags & _CONTROL:
        _note_control(p, flow, program)
    elif flow.handshake is _SYN_ACK and flow.direction is _TO_SERVER:
        flow.handshake = _DONE
    if reading.handshake and flow.handshake is not _DONE and p.end > p.payload_start:
        return False
    return not reading.checks_ack or _ack_is_plausible(p, flow.halves[1 - flow.direction])


def share_of_resync(flow: Flow, reading: TcpReading) -> float:
    """At how many of RSTs like the one at hand the box only loses count, instead of forgetting the connection."""
    refused = flow.handshake is HandshakeStep.SYN and flow.direction is Direction.SERVER_TO_CLIENT
    return reading.resync_on_refusal if refused else reading.resync_on_rst


def overtakes(p: Packet, flow: Flow, program: Program) -> Rule | None:
    """The rule that may still change bytes that this segment has overtaken.

    Such a box cannot let it pass: nobody knows yet by how much its numbers will move.
    """
    expected = flow.halves[flow.direction].next_seq
    if p.end == p.payload_start or expected is None or distance(expected, _first_byte(p)) <= 0:
        return None
    rules = (program if flow.live is None else flow.live).rules[flow.direction]
    return next((r for r in rules if any(isinstance(action, Rewrite) for action in all_actions(r))), None)


def read_segment(p: Packet, flow: Flow, program: Program, fields: Fields) -> Packet | None:
    """Put the payload into its stream and add what the dissector finds to `fields`.

    Returns the packet as rules have to see it: with the bytes that can be read now, and in `stream_tail` those before
    them. Afterwards `flow.alive` says what may still be found. None: the box takes no notice of it.
    """
    if p.end == p.payload_start:
        return p
    direction = flow.direction
    stream = flow.halves[direction]
    seq = _first_byte(p) if p.flags & wire.SYN else p.seq
    if (
        not program.reads_streams
    ):  # where it has got to tells this connection from another one on the same ports
        stream.next_seq = (seq + p.end - p.payload_start) & 0xFFFFFFFF
        return p
    p.read_from = stream.next_seq
    dissector = flow.dissector if _wants(flow) else None
    if stream.goes_on_at(seq, program.profile.tcp):
        _read_on(p, direction, stream, seq, program.window_bytes, dissector, fields)
        shown = p
    elif program.profile.tcp.second_syn is not _NEW and stream.is_elsewhere(seq):
        return None  # where a SYN begins no other connection, a number from nowhere does not either
    else:
        shown = _read_out_of_order(p, direction, stream, seq, program, dissector, fields)
    if dissector is not None and dissector.alive is not flow.alive:
        flow.keep(dissector)
    return shown


def read_datagram(p: Packet, flow: Flow, dissector: Dissector, fields: Fields) -> None:
    """Add what the dissector finds in a packet that is no TCP segment, unless it is a later fragment of one."""
    whole = p.payload_start > p.l4 if p.protocol == wire.PROTOCOL_UDP else not p.fragment_offset
    if whole and p.end > p.payload_start and _wants(flow):
        dissector.feed(flow.direction, p.payload, fields)
        if dissector.alive is not flow.alive:
            flow.keep(dissector)


def _wants(flow: Flow) -> bool:
    """Whether somebody wants what the dissector could find in this direction. Nobody else's bytes refute anything."""
    dissector = flow.dissector
    if dissector is None or dissector.couples_directions:
        return dissector is not None
    live = flow.live
    return bool(dissector.alive[flow.direction]) and (live is None or bool(live.rules[flow.direction]))


def fresh_payload(p: Packet) -> bytes:
    """What of the payload had not been read before this packet came."""
    if p.read_from is None:
        return p.payload
    return p.payload[max(distance(_first_byte(p), p.read_from), 0) :]


def _first_byte(p: Packet) -> int:
    return (p.seq + 1) & 0xFFFFFFFF if p.flags & wire.SYN else p.seq


def _read_on(
    p: Packet,
    direction: Direction,
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
        dissector.feed(direction, p.data[start:end], fields)


def _read_out_of_order(
    p: Packet,
    direction: Direction,
    stream: Half,
    seq: int,
    program: Program,
    dissector: Dissector | None,
    fields: Fields,
) -> Packet:
    """A segment that is early, late, or fills a hole; what can be read now may be more or less than its payload."""
    window_bytes = program.window_bytes
    shown = p
    for data, joined in stream.accept(seq, p.payload, program.profile.tcp):
        if window_bytes:
            tail = stream.tail if joined else b""
            shown = _with_payload(p, tail, data)
            stream.tail = (tail + data)[-window_bytes:]
        if dissector is not None:
            if not joined:
                dissector.restart(direction)
            dissector.feed(direction, data, fields)
    return shown


def _with_payload(p: Packet, tail: bytes, data: bytes) -> Packet:
    """A segment that fills a hole makes bytes readable that came before it in time: show rules all of them."""
    shown = copy(p)
    shown.data = p.data[: p.payload_start] + data
    shown.end = len(shown.data)
    shown.stream_tail = tail
    return shown


def _checksum_holds(p: Packet) -> bool:
    """A sender that leaves the checksum to its network card writes the sum of the pseudo-header; that is right too."""
    if wire.checksum_is_right(p):
        return True
    length = p.end - p.l4
    pseudo = p.src + p.dst + length.to_bytes(4, "big") + p.protocol.to_bytes(4, "big")
    return p.transport_checksum == wire.ones_complement_sum(pseudo)


def _note_control(p: Packet, flow: Flow, program: Program) -> None:
    """SYN starts a stream, SYN+ACK both; the handshake is followed step by step."""
    if program.may_lose_count:
        flow.lose_what_was_let_go()  # the kernel asks anew: `Plan.renews`
    if not p.flags & wire.SYN:
        return
    stream = flow.halves[flow.direction]
    second_syn = program.profile.tcp.second_syn
    if second_syn is not _NEW:
        if bool(p.flags & wire.ACK) is (flow.direction is _TO_SERVER):
            return  # such a box never changes its mind about who is the client
        if second_syn is _RESYNC:
            _keep_count(p, flow)
            return
    if p.flags & wire.ACK:
        if flow.direction is Direction.SERVER_TO_CLIENT:
            if flow.handshake is HandshakeStep.SYN:
                flow.handshake = HandshakeStep.SYN_ACK
            if flow.halves[_TO_SERVER].next_seq is None:
                flow.halves[_TO_SERVER].start(p.ack)
    elif flow.handshake is HandshakeStep.NONE:
        flow.handshake = HandshakeStep.SYN
    if stream.next_seq is None:
        stream.start((p.seq + 1) & 0xFFFFFFFF)


def _keep_count(p: Packet, flow: Flow) -> None:
    """A SYN or SYN+ACK that came from the right end, to a box that may lose count of them (`TcpReading`)."""
    client, server = flow.halves
    if not p.flags & wire.ACK:
        if flow.handshake is not HandshakeStep.NONE:
            flow.read_anew()
            return
        flow.handshake = HandshakeStep.SYN
        client.start((p.seq + 1) & 0xFFFFFFFF)
        return
    # Of what was let go it knows no number either, but that there was a SYN+ACK.
    has_lost_count = flow.lost_count and flow.live is None
    another = flow.handshake >= _SYN_ACK and not has_lost_count
    wrong = client.next_seq is not None and not client.data_packets and p.ack != client.next_seq
    if another or wrong:
        flow.read_anew()
        return
    if flow.lost_count:
        client.start(p.ack)
    server.start((p.seq + 1) & 0xFFFFFFFF)
    flow.handshake = max(flow.handshake, _SYN_ACK)


def _ack_is_plausible(p: Packet, peer: Half) -> bool:
    """RFC 9293 3.10.7.4: an acknowledgment of something that was never sent is not for this connection."""
    if not p.flags & wire.ACK or peer.next_seq is None:
        return True
    return distance(peer.next_seq, p.ack) <= 1  # its FIN is acknowledged like one byte
