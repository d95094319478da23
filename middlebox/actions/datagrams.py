"""`dns` and `icmp`: forged packets that are not TCP."""

from __future__ import annotations

import struct
from struct import Struct

from middlebox.actions.segments import DIRECTIONS
from middlebox.decision import Forged
from middlebox.flow import Direction
from middlebox.forge import Forger, Occasion
from middlebox.look import Counter, Uniform
from middlebox.packet import PROTOCOL_UDP
from middlebox.profile import AnswerName, Dns, Icmp

_HEADER = Struct("!HHHHHH")
_RECORD = Struct("!HHIH")
_TYPE_A, _TYPE_AAAA = 1, 28
_CLASS_IN = 1
_QUERY_BYTES = 12
_RESPONSE, _AUTHORITATIVE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x0400, 0x0100, 0x0080
_POINTER_TO_QUESTION = b"\xc0\x0c"


def plan_icmp(action: Icmp, forger: Forger, occasion: Occasion) -> list[tuple[Direction, Forged]]:
    """An error about the trigger, as if its receiver, or a router in front of it, had sent it."""
    kind, code = (action.kind6, action.code6) if occasion.trigger.version == 6 else (action.kind, action.code)
    return [
        (direction, forged)
        for direction in DIRECTIONS[action.towards]
        for forged in forger.icmp_error(action.look, occasion, direction, kind, code)
    ]


def plan_dns(action: Dns, forger: Forger, occasion: Occasion) -> list[tuple[Direction, Forged]]:
    """Answers to a query over UDP, back to who asked. None when the trigger is no query, or its type gets no answer."""
    if occasion.trigger.protocol != PROTOCOL_UDP:
        return []
    message = answer_to(occasion.trigger.payload, action, forger)
    if message is None:
        return []
    back = occasion.direction.opposite
    return [(back, forged) for forged in forger.datagram(action.look, occasion, back, message)]


def answer_to(query: bytes, action: Dns, forger: Forger) -> bytes | None:
    """The DNS message that answers `query` (RFC 1035 4.1) with an address out of the action's pools."""
    try:
        number, flags, questions, _, _, _ = _HEADER.unpack_from(query)
        name_end = _end_of_name(query)
        kind, klass = Struct("!HH").unpack_from(query, name_end)
    except (struct.error, IndexError):
        return None
    if flags & _RESPONSE or questions != 1 or klass != _CLASS_IN:
        return None
    if kind == _TYPE_AAAA and action.aaaa:
        pool, answer_kind = action.aaaa, _TYPE_AAAA
    elif action.a and (kind == _TYPE_A or action.any_type):
        pool, answer_kind = action.a, _TYPE_A
    else:
        return None
    # The pool is part of the frozen profile: its counter and its dice are the forger's.
    pick = Counter(0, 1, len(pool), "box") if action.cyclic else Uniform(0, len(pool) - 1)
    address = pool[forger.draw(pick, of=pool)]
    name = _POINTER_TO_QUESTION if action.name is AnswerName.POINTER else query[_QUERY_BYTES:name_end]
    answer_flags = _RESPONSE | flags & _RECURSION_DESIRED
    answer_flags |= _AUTHORITATIVE if action.authoritative else 0
    answer_flags |= _RECURSION_AVAILABLE if action.recursion_available else 0
    head = _HEADER.pack(number, answer_flags, 1, 1, 0, 0)
    record = _RECORD.pack(
        answer_kind, _CLASS_IN, forger.draw(action.ttl_s, of=action) & 0xFFFFFFFF, len(address)
    )
    return head + query[_QUERY_BYTES : name_end + 4] + name + record + address


def _end_of_name(query: bytes) -> int:
    """Where the name of the first question ends. IndexError: it does not."""
    at = _QUERY_BYTES
    while query[at]:
        if query[at] & 0xC0:
            raise IndexError  # a question has nothing to point to
        at += query[at] + 1
    return at + 1
