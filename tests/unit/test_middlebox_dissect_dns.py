"""DNS over UDP and TCP: which datagrams and streams are read, and when they are refuted."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS, DNSQR

from middlebox.dissect.dns import DnsDatagramDissector, DnsStreamDissector
from middlebox.dissect.dns_message import dns_plan
from tests.unit.dissect_talk import DEAD, C, feed
from tests.unit.tls_bytes import client_hello, record


def query(name: str, kind: str = "A") -> bytes:
    return bytes(DNS(id=0x1234, qd=[DNSQR(qname=name, qtype=kind)]))


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + message


def udp(*fields: str) -> DnsDatagramDissector:
    return DnsDatagramDissector(dns_plan(frozenset(fields) if fields else None))


def tcp() -> DnsStreamDissector:
    return DnsStreamDissector(dns_plan(None))


def test_query_over_udp_has_name_and_type() -> None:
    """The name is written with dots and in its own case."""
    fields = feed(udp(), C, query("WeB.example", "AAAA"))
    assert fields["dns.qry.name"] == ["WeB.example"]
    assert fields["dns.qry.type"] == [28]
    assert fields["dns.flags.response"] == [False]
    assert "dns.length" not in fields


def test_only_wanted_fields_are_reported() -> None:
    """A rule on the name alone finds the name alone."""
    assert feed(udp("dns.qry.name"), C, query("web.example")) == {"dns.qry.name": ["web.example"]}


def test_queries_over_tcp_are_joined_and_separated() -> None:
    """A query over three segments, with the next one in the last of them, gives both names."""
    stream = framed(query("one.example")) + framed(query("two.example"))
    dissector = tcp()
    assert not feed(dissector, C, stream[:1], stream[1:20])
    fields = feed(dissector, C, stream[20:])
    assert fields["dns.qry.name"] == ["one.example", "two.example"]
    assert fields["dns.length"] == [len(query("one.example"))] * 2


@pytest.mark.parametrize(
    "data",
    [
        record(22, client_hello()),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00\x05hello",
    ],
    ids=["tls", "http", "ssh", "short"],
)
def test_other_protocol_on_port_53_refutes_dns(data: bytes) -> None:
    """TLS, HTTP and SSH are told from DNS by their first sixteen bytes."""
    dissector = tcp()
    assert not feed(dissector, C, *(data[at : at + 1] for at in range(len(data))))
    assert dissector.alive == DEAD


def test_junk_over_udp_does_not_hide_the_next_query() -> None:
    """Datagrams stand for themselves."""
    dissector = udp()
    assert not feed(dissector, C, b"\xff" * 40)
    assert feed(dissector, C, query("web.example"))["dns.qry.name"] == ["web.example"]


@pytest.mark.parametrize(
    "name", [b"\xc0\x0c", b"\x01a\xc0\x0c", b"\xc0\x0e\xc0\x0c", b"\x3f" + b"a" * 63 + b"\xc0\x0c"]
)
def test_compression_loop_ends(name: bytes) -> None:
    """A pointer to itself, or in a circle, is no name; what the header says is still reported."""
    message = query("a")[:12] + name + b"\x00\x01\x00\x01"
    fields = feed(udp(), C, message)
    assert fields["dns.id"] == [0x1234]
    assert "dns.qry.name" not in fields


def test_counts_without_records_refute_the_message() -> None:
    """A header that promises more records than the datagram has room for is no DNS header."""
    assert not feed(udp(), C, query("a.example")[:4] + b"\xff\xff" * 4 + bytes(20))


def test_lost_bytes_end_the_half_read_message() -> None:
    """After a gap the next segment is read as the start of a message."""
    dissector = tcp()
    feed(dissector, C, framed(query("lost.example"))[:10])
    dissector.restart(C)
    assert feed(dissector, C, framed(query("next.example")))["dns.qry.name"] == ["next.example"]
