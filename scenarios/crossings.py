"""What crossed in a connection, read from one end's capture: passwords, mail, STARTTLS, encrypted data.

Must never: use the box's dissectors. They are what is being tested, so this reads the bytes for itself, and simply.

Sources: RFC 5321 and RFC 3207 (SMTP), RFC 9051 (IMAP), RFC 1939 and RFC 2595 (POP3), RFC 8446 (TLS records).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from middlebox.packet import SYN, Packet
from scenarios.captures import Captured

_APPLICATION_DATA = 23
_RECORD_HEADER_BYTES = 5

_COMMANDS = {
    "auth": re.compile(rb"^(?:\S+ )?(?:AUTH|AUTHENTICATE|LOGIN|USER|PASS|APOP)\b", re.IGNORECASE),
    "mail": re.compile(rb"^(?:MAIL FROM|DATA)\b", re.IGNORECASE),
    "starttls": re.compile(rb"^(?:\S+ )?(?:STARTTLS|STLS)\s*$", re.IGNORECASE),
}


def crossed(from_client: Sequence[Captured], what: str) -> list[Captured]:
    """The packets of one connection that carry what must never cross, in time order; empty if it did not cross.

    from_client: what the client sent in that connection, as this capture has it. what: see
    `scenarios.vocabulary.NEVER_CROSSES`.
    """
    if what == "application-data":
        return _application_data(from_client)
    pattern = _COMMANDS[what]
    return [captured for line, captured in _lines(from_client) if pattern.match(line)]


def in_order(packets: Iterable[Captured]) -> list[tuple[bytes, Captured]]:
    """One direction's bytes in stream order, nothing twice, each piece with the packet that brought it.

    A hole ends the stream: what comes after it was not delivered.
    """
    pieces: list[tuple[bytes, Captured]] = []
    waiting = [captured for captured in packets if captured.packet.payload_len or captured.packet.flags & SYN]
    first = next((c.packet for c in waiting if c.packet.flags & SYN), waiting[0].packet if waiting else None)
    if first is None:
        return []
    start = (first.seq + bool(first.flags & SYN)) & 0xFFFFFFFF
    waiting.sort(key=lambda captured: (_distance(captured.packet, start), captured.time_ns))
    following = 0
    for captured in waiting:
        p = captured.packet
        if p.flags & SYN and not p.payload_len:
            continue
        at = _distance(p, start)
        if at > following:
            break
        new = p.payload[following - at :]
        if new:
            pieces.append((new, captured))
            following += len(new)
    return pieces


def _distance(p: Packet, start: int) -> int:
    distance = (p.seq + bool(p.flags & SYN) - start) & 0xFFFFFFFF
    return distance - (1 << 32) if distance >= 1 << 31 else distance


def _lines(packets: Iterable[Captured]) -> list[tuple[bytes, Captured]]:
    """Lines in clear text, each with the packet that ended it; the first TLS record ends them."""
    lines: list[tuple[bytes, Captured]] = []
    rest = b""
    for piece, captured in in_order(packets):
        rest += piece
        while not _is_record(rest) and b"\n" in rest:
            line, rest = rest.split(b"\n", 1)
            lines.append((line.rstrip(b"\r"), captured))
        if _is_record(rest):
            break
    return lines


def _application_data(packets: Iterable[Captured]) -> list[Captured]:
    """Packets in which a TLS record of type 23 starts; the records start at the beginning or after lines of text."""
    found: list[Captured] = []
    rest = b""
    in_tls = False
    skip = 0
    for piece, captured in in_order(packets):
        rest += piece[skip:]
        skip = max(skip - len(piece), 0)
        while not in_tls and not _is_record(rest) and b"\n" in rest:
            rest = rest.split(b"\n", 1)[1]
        while _is_record(rest) and len(rest) >= _RECORD_HEADER_BYTES:
            in_tls = True
            if rest[0] == _APPLICATION_DATA:
                found.append(captured)
            end = _RECORD_HEADER_BYTES + int.from_bytes(rest[3:5], "big")
            skip = max(end - len(rest), 0)
            rest = rest[end:]
    return found


def _is_record(data: bytes) -> bool:
    return len(data) >= 3 and 20 <= data[0] <= 23 and data[1] == 3 and data[2] <= 4
