"""Forged DNS answers on the wire, against the catalogue's section 4.2: triplet (table 3) and Hoang21."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, ip_address, ip_network
from typing import NamedTuple

import pytest

from middlebox.packet import Packet
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, Seen

THREE = ("three", "again-1", "again-2", "again-3", "three-aaaa")
PROBES = ("from-outside", "ttl-4", "ttl-5")
"""Questions for the same name by which the first injector counts on, too."""
SPREAD_NS = 200_000
"""The injectors' mutual distance, at most (triplet 4.3)."""
HOPS = 3
"""Of the lab's injectors, from the client on."""
TEREDO = ip_network("2001::/32")


class Answer(NamedTuple):
    """A DNS response, read by RFC 1035 4.1: what the three injectors differ in, and the address."""

    number: int
    authoritative: bool
    ttl_s: int
    kind: int
    address: bytes


def answer(p: Packet) -> Answer:
    """The only record of a response with one question, whose name is told by a pointer to it."""
    message = p.payload
    number, flags, questions, answers, _, _ = struct.unpack_from("!HHHHHH", message)
    assert (flags >> 15, questions, answers, flags & 0xF) == (1, 1, 1, 0)
    at = message.index(b"\0", 12) + 5
    pointer, kind, klass, ttl_s, length = struct.unpack_from("!HHHIH", message, at)
    assert (pointer, klass, length) == (0xC00C, 1, {1: 4, 28: 16}[kind])
    return Answer(number, bool(flags & 0x0400), ttl_s, kind, message[at + 12 :])


def by_injector(connection: Connection) -> dict[int, Seen]:
    """Forged answers by who sent them, told by what the catalogue tells them by: 1 by AA, 2 and 3 by DF.

    IPv6 has no DF: there it is the address, of which each has its own (chosen).
    """
    found: dict[int, Seen] = {}
    for seen in connection.seen_forged("client"):
        p = seen.packet
        third = str(ip_address(answer(p).address))[-2] == "3" if p.version == 6 else not p.dont_fragment
        injector = 1 if answer(p).authoritative else 3 if third else 2
        assert injector not in found
        found[injector] = seen
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", [*THREE, "from-outside"])
def test_three_injectors_answer_one_query_each_with_its_own_fields(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """AA and 60 s; AA clear and DF; AA clear, DF clear, IP ID 0 and the TTL that the query had at the box."""
    connection = finished_run("gfw-dns").connection(step, family)
    query = connection.first_data().packet
    answers = by_injector(connection)
    assert sorted(answers) == [1, 2, 3]
    for injector, seen in answers.items():
        p = seen.packet
        said = answer(p)
        assert said.number == struct.unpack_from("!H", query.payload)[0]
        assert said.authoritative == (injector == 1)
        if injector == 1:
            assert said.ttl_s == 60
        if injector == 3:
            assert p.ttl == query.ttl
        if family == 4:
            assert p.dont_fragment == (injector == 2)
            assert injector != 3 or p.ip_id == 0
    assert connection.forged("server") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_ttl_of_the_first_injector_counts_up_and_of_the_second_is_random(
    family: int, finished_run: FinishedRun
) -> None:
    """From answer to answer one more; both IP versions are asked at once and share the counter."""
    run = finished_run("gfw-dns")
    both = [by_injector(run.connection(step, f)) for f in FAMILIES for step in (*THREE, *PROBES)]
    counted = sorted((answers[1].time_ns, answers[1].packet.ttl) for answers in both)
    assert sorted(ttl for _, ttl in counted) == list(range(counted[0][1], counted[0][1] + len(counted)))
    mine = [
        by_injector(run.connection(step, family))[1] for step in ("three", "again-1", "again-2", "again-3")
    ]
    ttls = [seen.packet.ttl for seen in mine]
    assert ttls == sorted(set(ttls))
    assert len({by_injector(run.connection(step, family))[2].packet.ttl for step in THREE}) > 3


@pytest.mark.parametrize("family", FAMILIES)
def test_lists_of_the_injectors_differ(family: int, finished_run: FinishedRun) -> None:
    """What the third blocks, the second does too, the first need not; other names are left alone."""
    run = finished_run("gfw-dns")
    assert sorted(by_injector(run.connection("one", family))) == [2]
    assert sorted(by_injector(run.connection("two", family))) == [2, 3]
    assert by_injector(run.connection("other-name", family)) == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_forged_answers_come_before_the_real_one_which_still_comes(
    family: int, finished_run: FinishedRun
) -> None:
    """On-path: the query reaches the server, and its answer reaches the client, too late."""
    run = finished_run("gfw-dns")
    for step in THREE:
        connection = run.connection(step, family)
        query = connection.first_data().packet
        arrived = [p for p in run.at_host("sim1", connection) if p.src == query.dst]
        forged = [p for p in connection.forged("client") if p.ttl >= HOPS]  # the others get lost on the way
        assert len(forged) >= 2
        told = [p.payload in {q.payload for q in forged} for p in arrived]
        assert told == [True] * len(forged) + [False]
        assert [p.payload for p in run.at_host("dns", connection)].count(query.payload) == 1
        assert run.outcome(step, family) == "misled"


@pytest.mark.parametrize("family", FAMILIES)
def test_answers_to_aaaa_are_teredo_addresses(family: int, finished_run: FinishedRun) -> None:
    """An AAAA query is answered out of 2001::/32 (Hoang21), an A query with an IPv4 address."""
    run = finished_run("gfw-dns")
    for seen in by_injector(run.connection("three-aaaa", family)).values():
        assert IPv6Address(answer(seen.packet).address) in TEREDO
    assert {answer(s.packet).kind for s in by_injector(run.connection("three", family)).values()} == {1}


@pytest.mark.parametrize("family", FAMILIES)
def test_question_from_outside_in_is_answered_outside(family: int, finished_run: FinishedRun) -> None:
    """The injectors look both ways: who asked is outside, and so is every answer."""
    connection = finished_run("gfw-dns").connection("from-outside", family)
    assert not connection.client_is_inside
    assert sorted(by_injector(connection)) == [1, 2, 3]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("step", "third_arrives"), [("ttl-4", False), ("ttl-5", True)])
def test_third_injector_is_heard_from_a_ttl_of_twice_the_distance_less_one_on(
    step: str, third_arrives: bool, family: int, finished_run: FinishedRun
) -> None:
    """It mirrors the TTL, so its answer comes back if the question had at least 2n - 1 (triplet), n being 3 here."""
    run = finished_run("gfw-dns")
    connection = run.connection(step, family)
    answers = by_injector(connection)
    assert sorted(answers) == [1, 2, 3]
    sent = run.at_host("sim1", connection)[0]
    assert (sent.ttl >= 2 * HOPS - 1) == third_arrives
    arrived = [p.payload for p in run.at_host("sim1", connection) if p.src == sent.dst]
    assert (answers[3].packet.payload in arrived) == third_arrives
    assert answers[1].packet.payload in arrived


def test_injectors_are_at_most_a_fifth_of_a_millisecond_apart(finished_run: FinishedRun) -> None:
    """Of the answers to one question, as they leave the box (triplet 4.3); the best of all counts."""
    run = finished_run("gfw-dns")
    connections = [run.connection(step, family) for family in FAMILIES for step in THREE]
    times = [[seen.time_ns for seen in c.seen_forged("client")] for c in connections]
    assert min(max(found) - min(found) for found in times) <= SPREAD_NS
