"""`dns` and `icmp`: forged packets that scapy reads as what they are meant to be."""

from __future__ import annotations

from random import Random

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.packet import Packet as ScapyPacket

from middlebox.actions.datagrams import answer_to, plan_dns, plan_icmp
from middlebox.expression import parse_expression
from middlebox.flow import Direction, Side
from middlebox.flowtable import Flow
from middlebox.forge import Forger, Occasion
from middlebox.look import Computed, Constant, Counter, Look
from middlebox.packet import checksum_is_right, decode
from middlebox.profile import AnswerName, Dns, Icmp, Towards

LIES = (bytes([203, 0, 113, 66]), bytes([203, 0, 113, 67]))
LIES6 = (bytes.fromhex("20010db8000300000000000000000066"),)
V4 = IP(src="192.0.2.11", dst="203.0.113.53")
V6 = IPv6(src="2001:db8:1::11", dst="2001:db8:3::53")


def occasion(packet: ScapyPacket) -> Occasion:
    trigger = decode(bytes(packet))
    assert trigger is not None
    protocol = trigger.protocol << 16
    key = (trigger.src, trigger.sport | protocol, trigger.dst, trigger.dport | protocol)
    return Occasion(trigger, Flow(key, Side.INSIDE, 0), Direction.CLIENT_TO_SERVER, 7_000, True)


def query(
    ip: ScapyPacket = V4, name: str = "blocked.example", kind: str = "A", **changes: object
) -> ScapyPacket:
    return (
        ip / UDP(sport=40000, dport=53) / DNS(id=0x1234, rd=1, qd=[DNSQR(qname=name, qtype=kind)], **changes)
    )


def answers(action: Dns, packet: ScapyPacket) -> list[ScapyPacket]:
    forged = plan_dns(action, Forger(Random(1)), occasion(packet))
    for direction, one in forged:
        assert direction is Direction.SERVER_TO_CLIENT
        p = decode(one.data)
        assert p is not None
        assert checksum_is_right(p)
    layer = IP if packet.version == 4 else IPv6
    return [layer(one.data) for _, one in forged]


@pytest.mark.parametrize("ip", [V4, V6], ids=["ipv4", "ipv6"])
def test_dns_answer_comes_from_the_server_to_who_asked(ip: ScapyPacket) -> None:
    """Ends and ports turned round, the query's number and question kept, one address told."""
    (answer,) = answers(Dns(LIES[:1], (), Look()), query(ip))
    assert (answer.src, answer.dst, answer[UDP].sport, answer[UDP].dport) == (ip.dst, ip.src, 53, 40000)
    dns = answer[DNS]
    assert (dns.id, dns.qr, dns.rd, dns.ra, dns.aa, dns.rcode) == (0x1234, 1, 1, 1, 0, 0)
    assert (dns.qd[0].qname, dns.qd[0].qtype) == (b"blocked.example.", 1)
    assert (dns.ancount, dns.an[0].rrname, dns.an[0].rdata, dns.an[0].ttl) == (
        1,
        b"blocked.example.",
        "203.0.113.66",
        300,
    )


def test_dns_aaaa_query_gets_an_ipv6_address() -> None:
    """The type of the answer follows the question where there is a pool for it."""
    (answer,) = answers(Dns(LIES, LIES6, Look()), query(kind="AAAA"))
    assert (answer[DNS].an[0].type, answer[DNS].an[0].rdata) == (28, "2001:db8:3::66")


def test_dns_type_without_a_pool_gets_no_answer_unless_any_type() -> None:
    """Some injectors answer every type with an A record (GFWREV), others only what they know."""
    assert answers(Dns(LIES, (), Look()), query(kind="MX")) == []
    (answer,) = answers(Dns(LIES, (), Look(), any_type=True), query(kind="MX"))
    assert answer[DNS].an[0].type == 1


def test_dns_flags_and_lifetime_are_the_profiles() -> None:
    """AA, RA and the TTL of the record tell injectors apart (Hoang21)."""
    action = Dns(LIES[:1], (), Look(), ttl_s=Constant(60), authoritative=True, recursion_available=False)
    (answer,) = answers(action, query())
    assert (answer[DNS].aa, answer[DNS].ra, answer[DNS].an[0].ttl) == (1, 0, 60)


@pytest.mark.parametrize(("name", "pointer"), [(AnswerName.POINTER, 1), (AnswerName.WRITTEN, 0)])
def test_dns_name_is_a_pointer_or_written_out(name: AnswerName, pointer: int) -> None:
    """0xc00c, or the name once more in full (GFWREV)."""
    (answer,) = answers(Dns(LIES[:1], (), Look(), name=name), query())
    raw = bytes(answer[UDP].payload)
    assert raw.count(b"\x07blocked\x07example\0") == 2 - pointer
    assert raw.count(b"\xc0\x0c") == pointer


def test_dns_cyclic_pool_goes_on_from_answer_to_answer() -> None:
    """One address after the other, in the order of the profile."""
    forger, action = Forger(Random(1)), Dns(LIES, (), Look(), cyclic=True)
    told = [DNS(answer_to(bytes(query()[DNS]), action, forger)).an[0].rdata for _ in range(4)]
    assert told == ["203.0.113.66", "203.0.113.67"] * 2


def test_dns_look_sets_count_and_ip_header() -> None:
    """Three copies with the injector's own IP fields."""
    look = Look(count=3, ttl=Constant(77), ip_id=Constant(9), dont_fragment=True, tos=8)
    found = [(a.ttl, a.id, str(a.flags), a.tos) for a in answers(Dns(LIES, (), look), query())]
    assert found == [(77, 9, "DF", 8)] * 3


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x12\x34\x01",
        bytes(query(qr=1)[DNS]),
        bytes(DNS(qd=[])),
        bytes(query()[DNS])[:20],
        bytes(query()[DNS])[:12] + b"\xc0\x0c\x00\x01\x00\x01",
        bytes(query()[DNS])[:-2] + b"\x00\x03",
        b"\x00" * 12 + b"\x3f" * 100,
    ],
    ids=["empty", "short", "response", "no-question", "cut", "pointer", "chaos-class", "endless-name"],
)
def test_dns_what_is_no_query_gets_no_answer(payload: bytes) -> None:
    """Any bytes may come to port 53; nothing of it raises."""
    assert answer_to(payload, Dns(LIES, LIES6, Look(), any_type=True), Forger(Random(1))) is None


def test_dns_over_tcp_gets_no_datagram() -> None:
    """An answer over UDP to a query over TCP would convince nobody."""
    trigger = occasion(query())
    trigger.trigger.protocol = 6
    assert plan_dns(Dns(LIES, (), Look()), Forger(Random(1)), trigger) == []


def test_icmp_error_quotes_the_trigger() -> None:
    """Administratively prohibited (RFC 1812), from the receiver's address, with the header and 8 bytes (RFC 792)."""
    packet = query()
    ((direction, forged),) = plan_icmp(Icmp(Towards.CLIENT, Look()), Forger(Random(1)), occasion(packet))
    error = IP(forged.data)
    rebuilt = IP(bytes(error))
    del rebuilt[ICMP].chksum
    assert direction is Direction.SERVER_TO_CLIENT
    assert (error.src, error.dst, error[ICMP].type, error[ICMP].code) == ("203.0.113.53", "192.0.2.11", 3, 13)
    assert error[ICMP].chksum == IP(bytes(rebuilt))[ICMP].chksum
    assert bytes(error[ICMP].payload) == bytes(packet)[:28]


def test_icmp_error_in_ipv6_has_its_own_type_and_a_longer_quote() -> None:
    """ICMPv6 destination unreachable, quoting as much as fits 1280 bytes (RFC 4443 2.4), with its pseudo-header sum."""
    packet = query(V6, name="a." * 100 + "example") / (b"x" * 2000)
    ((_, forged),) = plan_icmp(Icmp(Towards.CLIENT, Look()), Forger(Random(1)), occasion(packet))
    error = IPv6(forged.data)
    rebuilt = IPv6(bytes(error))
    del rebuilt[ICMPv6DestUnreach].cksum
    assert (error[ICMPv6DestUnreach].type, error[ICMPv6DestUnreach].code) == (1, 1)
    assert error[ICMPv6DestUnreach].cksum == IPv6(bytes(rebuilt))[ICMPv6DestUnreach].cksum
    assert len(forged.data) == 1280


def test_icmp_towards_both_sends_one_each_way() -> None:
    """Each end is told by the other's address."""
    forged = plan_icmp(Icmp(Towards.BOTH, Look()), Forger(Random(1)), occasion(query()))
    assert [direction for direction, _ in forged] == [Direction.SERVER_TO_CLIENT, Direction.CLIENT_TO_SERVER]


def test_datagram_counts_by_a_window_that_it_does_not_have() -> None:
    """An expression may name the window, as where a TTL counts from 1 on; the number of the first byte is 0."""
    ttl = Computed(parse_expression("1 + window + seq"))
    look = Look(count=4, ttl=ttl, window=Counter(253, 1, 255, "box"))
    assert [answer.ttl for answer in answers(Dns(LIES[:1], (), look), query())] == [254, 255, 1, 2]
