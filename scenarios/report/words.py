"""What a packet says, in few words: `SYN+ACK`, `STARTTLS`, `TLS ClientHello`.

For people only: no rule and no check depends on these words. One `Reader` per flow, as TLS records span segments.

Sources: RFC 9293 (flags), RFC 8446 and RFC 5246 (record and handshake types), RFC 1035 (DNS).
"""

from __future__ import annotations

from ipaddress import ip_address

from middlebox.dissect.base import Fields
from middlebox.dissect.dns_message import dns_plan, may_be_message, read_message
from middlebox.flow import Direction
from middlebox.packet import ACK, CWR, ECE, FIN, PROTOCOL_TCP, PSH, RST, SYN, URG, Packet

_FLAG_WORDS = (
    (SYN, "SYN"),
    (FIN, "FIN"),
    (RST, "RST"),
    (PSH, "PSH"),
    (URG, "URG"),
    (ECE, "ECE"),
    (CWR, "CWR"),
    (ACK, "ACK"),
)
_RECORDS = {20: "ChangeCipherSpec", 21: "Alert", 22: "Handshake", 23: "ApplicationData"}
_HANDSHAKES = {
    0: "HelloRequest", 1: "ClientHello", 2: "ServerHello", 4: "NewSessionTicket", 11: "Certificate",
    12: "ServerKeyExchange", 14: "ServerHelloDone", 16: "ClientKeyExchange",
}  # fmt: skip
_RECORD_HEADER_BYTES = 5
_MAX_TEXT_CHARACTERS = 100
_PRINTABLE_SHARE = 0.9
"""Share of printable characters from which a payload is shown as text (chosen)."""

DNS_PORT = 53
_DNS = dns_plan(frozenset({"dns.flags.response", "dns.qry.name", "dns.qry.type", "dns.a", "dns.aaaa"}))
_DNS_TYPES = {1: "A", 28: "AAAA", 15: "MX", 65: "HTTPS"}

TLS_DATA = "TLS ApplicationData"
TLS_CONTINUED = "TLS (continued)"


def flag_words(p: Packet) -> str:
    """`SYN+ACK`, `RST`; for UDP `UDP`."""
    if p.protocol != PROTOCOL_TCP:
        return "UDP"
    return "+".join(word for bit, word in _FLAG_WORDS if p.flags & bit) or "no flags"


def size_words(n_bytes: int) -> str:
    """`10 B`, `280 kB`, `1.2 MB`; powers of ten."""
    if n_bytes < 1000:
        return f"{n_bytes} B"
    if n_bytes < 1_000_000:
        return f"{n_bytes / 1000:.3g} kB"
    return f"{n_bytes / 1_000_000:.3g} MB"


class Reader:
    """Reads the payloads of one flow, packet by packet, in the order they were sent."""

    def __init__(self) -> None:
        self._next_seq: list[int | None] = [None, None]
        self._record_left = [0, 0]
        self._tls = [False, False]

    def text(self, direction: Direction, p: Packet) -> str:
        """What the payload says; empty where there is none or it is not for people."""
        payload = p.payload
        if not payload:
            return ""
        expected = self._next_seq[direction]
        if p.protocol == PROTOCOL_TCP:
            if expected is not None and (p.seq - expected) & 0xFFFFFFFF >= 0x80000000:
                return f"(again) {'TLS' if self._tls[direction] else _first_line(payload)}".rstrip()
            self._next_seq[direction] = (p.seq + len(payload)) & 0xFFFFFFFF
        elif DNS_PORT in (p.sport, p.dport) and may_be_message(payload):
            return _dns_words(payload)
        if self._tls[direction] or _is_tls_record(payload):
            self._tls[direction] = True
            return self._tls_words(direction, payload)
        return _first_line(payload)

    def _tls_words(self, direction: Direction, payload: bytes) -> str:
        at = self._record_left[direction]
        names: list[str] = []
        while at + _RECORD_HEADER_BYTES <= len(payload):
            if not _is_tls_record(payload[at:]):
                self._tls[direction] = False
                return ", ".join(names)
            length = int.from_bytes(payload[at + 3 : at + 5], "big")
            name = _record_name(payload[at : at + _RECORD_HEADER_BYTES + 1], length)
            if not names or names[-1] != name:
                names.append(name)
            at += _RECORD_HEADER_BYTES + length
        self._record_left[direction] = max(at - len(payload), 0)
        return "TLS " + ", ".join(names) if names else TLS_CONTINUED


def _dns_words(payload: bytes) -> str:
    """`DNS blocked.example A?`, `DNS 192.0.2.1 for blocked.example`; what is neither is only `DNS`."""
    fields: Fields = {}
    read_message(payload, _DNS, fields)
    name = next((value for value in fields.get("dns.qry.name", ()) if isinstance(value, str)), "")
    if not fields["dns.flags.response"][0]:
        kind = next((value for value in fields.get("dns.qry.type", ()) if isinstance(value, int)), 0)
        return f"DNS {name} {_DNS_TYPES.get(kind, f'type {kind}')}?" if name else "DNS"
    found = [*fields.get("dns.a", ()), *fields.get("dns.aaaa", ())]
    answer = ", ".join(str(ip_address(address)) for address in found if isinstance(address, bytes))
    return f"DNS {answer or 'no address'} for {name}"


def _is_tls_record(data: bytes) -> bool:
    return len(data) >= 3 and data[0] in _RECORDS and data[1] == 3 and data[2] <= 4


def _record_name(start: bytes, length: int) -> str:
    kind = start[0]
    if kind == 22 and length and len(start) > _RECORD_HEADER_BYTES:
        return _HANDSHAKES.get(start[_RECORD_HEADER_BYTES], "Handshake")
    return _RECORDS[kind]


def _first_line(payload: bytes) -> str:
    """The first line, and how many more there are; empty for binary data."""
    head = payload[:_MAX_TEXT_CHARACTERS]
    printable = sum(0x20 <= byte < 0x7F or byte in (9, 10, 13) for byte in head)
    if printable < _PRINTABLE_SHARE * len(head):
        return ""
    lines = payload.rstrip(b"\r\n").split(b"\n")
    line = lines[0].rstrip(b"\r")[:_MAX_TEXT_CHARACTERS].decode("latin-1")
    first = "".join(character if " " <= character <= "~" else "." for character in line)
    more = len(lines) - 1
    return f"{first} (+{more} line{'s' if more > 1 else ''})" if more else first
