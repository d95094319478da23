"""One DNS message (RFC 1035): fields from bytes that are all there.

Compression pointers may point anywhere, also at themselves: a name ends after MAX_NAME_BYTES, and never more than
MAX_RECORDS records are read. Reads only what is wanted, stops at the first length that does not fit, never raises.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from struct import Struct, unpack_from

from middlebox.dissect.base import Fields, FieldSpec, FieldType, add

HEADER_BYTES = 12
# RFC 1035 section 2.3.4: 255 octets. Each jump is counted as one more, so that a loop ends too.
MAX_NAME_BYTES = 255
# `chosen`: far more than a resolver returns; names of 64 kB of tiny records would cost a second.
MAX_RECORDS = 512
_QUESTION_BYTES, _RECORD_BYTES = 5, 11  # of the shortest there can be, with the root as name

_HEADER = Struct(">6H")
_OPCODES = frozenset({0, 1, 2, 4, 5, 6})
_OPT = 41

_UINT, _BOOL, _STRING = FieldType.UINT, FieldType.BOOL, FieldType.STRING
DNS_FIELDS: Mapping[str, FieldSpec] = {
    "dns": FieldSpec(_BOOL, None, "a DNS message"),
    "dns.length": FieldSpec(
        _UINT, None, "bytes of the message as the two bytes before it say; over TCP only"
    ),
    "dns.id": FieldSpec(_UINT, None, "transaction ID"),
    "dns.flags": FieldSpec(_UINT, None, "all 16 flag bits"),
    "dns.flags.response": FieldSpec(_BOOL, None, "false in a query, true in a response"),
    "dns.flags.opcode": FieldSpec(_UINT, None, "0 standard query, 5 dynamic update"),
    "dns.flags.authoritative": FieldSpec(_BOOL, None, "AA; in responses only"),
    "dns.flags.truncated": FieldSpec(_BOOL, None, "TC"),
    "dns.flags.recdesired": FieldSpec(_BOOL, None, "RD"),
    "dns.flags.recavail": FieldSpec(_BOOL, None, "RA; in responses only"),
    "dns.flags.rcode": FieldSpec(_UINT, None, "0 no error, 3 no such name, 5 refused; in responses only"),
    "dns.count.queries": FieldSpec(_UINT, None, "questions, as the header says"),
    "dns.count.answers": FieldSpec(_UINT, None, "answer records, as the header says"),
    "dns.count.auth_rr": FieldSpec(_UINT, None, "authority records, as the header says"),
    "dns.count.add_rr": FieldSpec(_UINT, None, "additional records, as the header says"),
    "dns.qry.name": FieldSpec(
        _STRING, None, "name asked for, without the last dot, in the case it was written in"
    ),
    "dns.qry.name.len": FieldSpec(_UINT, None, "characters of that name"),
    "dns.qry.type": FieldSpec(_UINT, None, "1 A, 28 AAAA, 15 MX, 65 HTTPS"),
    "dns.qry.class": FieldSpec(_UINT, None, "1 IN"),
    "dns.resp.name": FieldSpec(_STRING, None, "owner of each record"),
    "dns.resp.type": FieldSpec(_UINT, None, "type of each record"),
    "dns.resp.class": FieldSpec(_UINT, None, "class of each record but OPT"),
    "dns.resp.ttl": FieldSpec(_UINT, None, "time to live of each record but OPT, seconds"),
    "dns.resp.len": FieldSpec(_UINT, None, "bytes of data of each record"),
    "dns.a": FieldSpec(FieldType.IPV4, None, "address of an A record"),
    "dns.aaaa": FieldSpec(FieldType.IPV6, None, "address of an AAAA record"),
    "dns.cname": FieldSpec(_STRING, None, "target of a CNAME record"),
    "dns.ptr.domain_name": FieldSpec(_STRING, None, "target of a PTR record"),
    "dns.mx.mail_exchange": FieldSpec(_STRING, None, "host of an MX record"),
    "dns.txt": FieldSpec(_STRING, None, "a string of a TXT record"),
}
_HEADER_FIELDS = frozenset(
    name for name in DNS_FIELDS if name.startswith(("dns.id", "dns.flags", "dns.count"))
)
_QUERY_FIELDS = frozenset(name for name in DNS_FIELDS if name.startswith("dns.qry"))
_RECORD_FIELDS = DNS_FIELDS.keys() - _HEADER_FIELDS - _QUERY_FIELDS - {"dns", "dns.length"}


class DnsPlan:
    """What the rules want from DNS, worked out once for all flows. `fields`: None for all."""

    __slots__ = ("alive", "fields", "header", "query", "records")

    def __init__(self, fields: frozenset[str] | None) -> None:
        self.fields = frozenset(DNS_FIELDS if fields is None else fields & DNS_FIELDS.keys())
        self.header = bool(self.fields & _HEADER_FIELDS)
        self.query = bool(self.fields & _QUERY_FIELDS)
        self.records = bool(self.fields & _RECORD_FIELDS)
        both = frozenset({"dns"})
        self.alive = (both, both)


@lru_cache(maxsize=64)
def dns_plan(fields: frozenset[str] | None) -> DnsPlan:
    """The plan for these wanted fields (None: all), shared by every flow that wants the same."""
    return DnsPlan(fields)


def may_be_message(data: bytes, size: int = -1) -> bool:
    """Whether these bytes can be a DNS message: a known opcode, and no more records than there is room for.

    `size`: of the whole message, if `data` is only its header.
    """
    if len(data) < HEADER_BYTES:
        return False
    room = (len(data) if size < 0 else size) - HEADER_BYTES
    _, flags, queries, *records = _HEADER.unpack_from(data)
    return flags >> 11 & 15 in _OPCODES and queries * _QUESTION_BYTES + sum(records) * _RECORD_BYTES <= room


def read_message(data: bytes, plan: DnsPlan, fields: Fields) -> None:
    """Add the wanted fields of a message. `data` holds the header at least."""
    wanted = plan.fields
    if "dns" in wanted:
        fields["dns"] = [True]
    counts = _HEADER.unpack_from(data)
    if plan.header:
        _read_header(counts, wanted, fields)
    if not plan.query and not plan.records:
        return
    position = HEADER_BYTES
    for _ in range(min(counts[2], MAX_RECORDS)):
        name, position = _name(data, position)
        if position < 0 or position + 4 > len(data):
            return
        if plan.query:
            kind, klass = unpack_from(">HH", data, position)
            _add(fields, wanted, "dns.qry.name", name)
            _add(fields, wanted, "dns.qry.name.len", len(name) if name != ROOT else 0)
            _add(fields, wanted, "dns.qry.type", kind)
            _add(fields, wanted, "dns.qry.class", klass)
        position += 4
    if plan.records:
        _read_records(data, position, min(sum(counts[3:]), MAX_RECORDS), wanted, fields)


def _read_header(header: tuple[int, ...], wanted: frozenset[str], fields: Fields) -> None:
    identity, flags, *counts = header
    _add(fields, wanted, "dns.id", identity)
    _add(fields, wanted, "dns.flags", flags)
    _add(fields, wanted, "dns.flags.response", bool(flags & 0x8000))
    _add(fields, wanted, "dns.flags.opcode", flags >> 11 & 15)
    _add(fields, wanted, "dns.flags.truncated", bool(flags & 0x0200))
    _add(fields, wanted, "dns.flags.recdesired", bool(flags & 0x0100))
    if flags & 0x8000:
        _add(fields, wanted, "dns.flags.authoritative", bool(flags & 0x0400))
        _add(fields, wanted, "dns.flags.recavail", bool(flags & 0x0080))
        _add(fields, wanted, "dns.flags.rcode", flags & 15)
    for name, count in zip(("queries", "answers", "auth_rr", "add_rr"), counts, strict=True):
        _add(fields, wanted, f"dns.count.{name}", count)


def _read_records(data: bytes, position: int, count: int, wanted: frozenset[str], fields: Fields) -> None:
    for _ in range(count):
        name, position = _name(data, position)
        if position < 0 or position + 10 > len(data):
            return
        kind, klass, ttl, length = unpack_from(">HHIH", data, position)
        position += 10
        _add(fields, wanted, "dns.resp.name", name)
        _add(fields, wanted, "dns.resp.type", kind)
        if kind != _OPT:
            _add(fields, wanted, "dns.resp.class", klass)
            _add(fields, wanted, "dns.resp.ttl", ttl)
        _add(fields, wanted, "dns.resp.len", length)
        end = position + length
        if end > len(data):
            return
        _read_data(kind, data, position, end, wanted, fields)
        position = end


def _read_data(kind: int, data: bytes, start: int, end: int, wanted: frozenset[str], fields: Fields) -> None:
    """The data of a record, `data[start:end]`, if it is of a type that has a field."""
    if kind == 1 and end - start == 4:
        _add(fields, wanted, "dns.a", data[start:end])
    elif kind == 28 and end - start == 16:
        _add(fields, wanted, "dns.aaaa", data[start:end])
    elif kind in _NAMES:
        field, skip = _NAMES[kind]
        name, after = _name(data, start + skip)
        if 0 <= after <= end:
            _add(fields, wanted, field, name)
    elif kind == 16:
        while start < end:
            text = start + 1
            start = text + data[start]
            if start > end:
                return
            _add(fields, wanted, "dns.txt", data[text:start].decode("latin-1"))


# record type -> field of the name in its data, bytes before that name
_NAMES: Mapping[int, tuple[str, int]] = {
    5: ("dns.cname", 0),
    12: ("dns.ptr.domain_name", 0),
    15: ("dns.mx.mail_exchange", 2),
}

ROOT = "<Root>"  # Wireshark's word for the empty name


def _name(data: bytes, position: int) -> tuple[str, int]:
    """The name at `position` with dots, and the offset behind it; -1 if it runs out of the message or never ends."""
    labels: list[bytes] = []
    after = -1
    budget = MAX_NAME_BYTES
    while position < len(data) and budget > 0:
        length = data[position]
        if length == 0:
            name = b".".join(labels).decode("latin-1") if labels else ROOT
            return name, after if after >= 0 else position + 1
        if length < 0x40:
            label = data[position + 1 : position + 1 + length]
            labels.append(label)
            position += 1 + length
            budget -= 1 + length
        elif length >= 0xC0 and position + 1 < len(data):
            if after < 0:
                after = position + 2
            position = (length & 0x3F) << 8 | data[position + 1]
            budget -= 1
        else:
            break  # RFC 6891 section 5: the other two label types are not used
    return "", -1


def _add(fields: Fields, wanted: frozenset[str], name: str, value: int | str | bytes | bool) -> None:  # noqa: FBT001
    if name in wanted:
        add(fields, name, value)
