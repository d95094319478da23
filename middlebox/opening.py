"""Whether a packet begins a connection for this box, and who is its client; whether one was forgotten meanwhile.

Decides about a packet and what is remembered of its ports, and changes neither. What the box does not take seriously
begins nothing. Sources: Wang17 section 4 (what makes the Great Firewall remember a connection).
"""

from __future__ import annotations

from middlebox.flow import Direction
from middlebox.flowtable import Flow
from middlebox.packet import ACK, PROTOCOL_TCP, SYN, Packet
from middlebox.profile import SecondSyn, StateFrom, TcpReading
from middlebox.reading import is_sound

FIRST_UNPRIVILEGED_PORT = 1024

# Taken out of their enums once: looking them up there costs as much as the rest of a step.
_TO_CLIENT = Direction.SERVER_TO_CLIENT
_ANY_STATE = StateFrom.ANY


def may_open(p: Packet, reading: TcpReading) -> bool:
    """Whether this packet makes the box remember a connection."""
    if p.protocol != PROTOCOL_TCP:
        return True
    if reading.state_from is not _ANY_STATE:
        syn = p.flags & (SYN | ACK)
        if syn != SYN and (syn != SYN | ACK or reading.state_from is not StateFrom.SYNACK):
            return False
    return is_sound(p, reading)


def is_forgotten(flow: Flow, now_ns: int) -> bool:
    """Whether a connection was idle for too long; what is blocked stays so, and moved numbers stay moved."""
    program = flow.program
    if program is None or flow.stopped or flow.translation is not None:
        return False
    return now_ns - flow.last_ns >= program.profile.tcp.idle_ns


def sent_by_server(p: Packet) -> bool:
    """Who is the server of a connection first seen now: who answers a SYN, else who has the lower port.

    Where both ports are high, as WireGuard's and OpenVPN's may be, the first datagram is the client's.
    """
    if p.flags & SYN:
        return bool(p.flags & ACK)
    return p.sport < p.dport and (p.protocol == PROTOCOL_TCP or p.sport < FIRST_UNPRIVILEGED_PORT)


def is_new_connection(p: Packet, flow: Flow) -> bool:
    """Whether the ports of a remembered connection are used again for another one. What the box does not take
    seriously says nothing about that."""
    stream = flow.halves[flow.direction]
    program = flow.program
    if p.flags & (SYN | ACK) == SYN:  # unless it is the same SYN, sent once more
        new = flow.direction is _TO_CLIENT or stream.next_seq != (p.seq + 1) & 0xFFFFFFFF
    elif stream.next_seq is None or stream.next_seq == p.seq:
        return False
    else:
        new = p.end > p.payload_start and stream.is_elsewhere(p.seq)
    if not new or program is None:
        return new
    reading = program.profile.tcp
    return reading.second_syn is SecondSyn.NEW and is_sound(p, reading)
