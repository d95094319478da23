"""DNS messages: every record type with a field, names however they are compressed, limits."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS, DNSQR, DNSRR, DNSRRMX, DNSRROPT

from middlebox.dissect import Fields
from middlebox.dissect.dns_message import MAX_RECORDS, ROOT, dns_plan, may_be_message, read_message

V6 = "2001:db8:3::80"


def fields_of(message: bytes, *wanted: str) -> Fields:
    fields: Fields = {}
    read_message(message, dns_plan(frozenset(wanted) if wanted else None), fields)
    return fields


def response(*answers: DNSRR, **more: object) -> bytes:
    return bytes(DNS(id=7, qr=1, aa=1, rd=1, ra=1, qd=[DNSQR(qname="web.example")], an=list(answers), **more))


def test_records_have_owner_type_and_data() -> None:
    """Addresses are bytes, names are text with dots, each kind in the field that Wireshark has for it."""
    message = response(
        DNSRR(rrname="web.example", type="CNAME", rdata="a.example", ttl=60),
        DNSRR(rrname="a.example", type="A", rdata="203.0.113.80", ttl=61),
        DNSRR(rrname="a.example", type="AAAA", rdata=V6, ttl=62),
        DNSRRMX(rrname="example", preference=10, exchange="mail.example", ttl=63),
        DNSRR(rrname="80.113.0.203.in-addr.arpa", type="PTR", rdata="web.example", ttl=64),
        DNSRR(rrname="example", type="TXT", rdata=[b"one", b"two"], ttl=65),
        ar=[DNSRROPT()],
    )
    fields = fields_of(message)
    assert fields["dns.a"] == [bytes([203, 0, 113, 80])]
    assert fields["dns.aaaa"] == [bytes.fromhex("20010db8000300000000000000000080")]
    assert fields["dns.cname"] == ["a.example"]
    assert fields["dns.mx.mail_exchange"] == ["mail.example"]
    assert fields["dns.ptr.domain_name"] == ["web.example"]
    assert fields["dns.txt"] == ["one", "two"]
    assert fields["dns.resp.ttl"] == [60, 61, 62, 63, 64, 65]
    assert fields["dns.resp.type"] == [5, 1, 28, 15, 12, 16, 41]
    assert fields["dns.resp.name"][-1] == ROOT
    assert fields["dns.count.answers"] == [6]


def test_flags_that_mean_nothing_in_a_query_are_only_in_responses() -> None:
    """As in Wireshark: authority, recursion available and response code."""
    only = {"dns.flags.authoritative", "dns.flags.recavail", "dns.flags.rcode"}
    assert only <= fields_of(response()).keys()
    assert not only & fields_of(bytes(DNS(qd=[DNSQR(qname="a")]))).keys()


def test_wanted_field_is_the_only_one_read() -> None:
    """A rule on the address finds the address alone."""
    message = response(DNSRR(rrname="web.example", type="A", rdata="203.0.113.80"))
    assert fields_of(message, "dns.a") == {"dns.a": [bytes([203, 0, 113, 80])]}


@pytest.mark.parametrize("size", range(12, 60))
def test_message_cut_anywhere_gives_what_is_whole(size: int) -> None:
    """What was read before the cut stays; nothing raises and nothing is made up."""
    message = response(DNSRR(rrname="web.example", type="A", rdata="203.0.113.80"))
    whole, part = fields_of(message), fields_of(message[:size])
    assert all(whole[name][: len(values)] == values for name, values in part.items())


def test_records_are_read_to_their_limit() -> None:
    """A message of thousands of tiny records costs no more than MAX_RECORDS of them."""
    record = b"\x00\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00"
    message = b"\x00\x01\x80\x00\x00\x00\x0f\xa0\x00\x00\x00\x00" + record * 4000
    assert may_be_message(message)
    assert len(fields_of(message)["dns.resp.type"]) == MAX_RECORDS


@pytest.mark.parametrize(
    "header",
    [b"", b"\x00" * 11, b"\x00\x01\x78\x00" + bytes(8), b"\x00\x01\x00\x00\x00\x05" + bytes(6)],
    ids=["empty", "short", "opcode 15", "five questions in no room"],
)
def test_what_is_no_message_is_refused(header: bytes) -> None:
    """Opcode and counts have to be possible."""
    assert not may_be_message(header)
