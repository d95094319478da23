"""Turkmenistan's RSTs and DNS answers on the wire, against the dumps of TMC23 (catalogue section 7)."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS

from middlebox.packet import Packet, flag_letters
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, assert_bare

IP_ID, INITIAL_TTL = 30000, 128


def assert_signed(p: Packet, family: int) -> None:
    """What every packet of this box has in common."""
    assert p.ttl == INITIAL_TTL
    if family == 4:
        assert (p.ip_id, p.dont_fragment) == (IP_ID, False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["twice", "twice-tls"])
def test_turkmenistan_dump_is_reproduced(step: str, family: int, finished_run: FinishedRun) -> None:
    """From outside, without a handshake: RST, seq, ack and window 0, after the second packet; 40 bytes of IP."""
    connection = finished_run("turkmenistan").connection(step, family)
    seen = [s for s in connection.outside if s.packet.ttl == INITIAL_TTL]
    [reset] = seen
    p = reset.packet
    assert_signed(p, family)
    assert_bare([p])
    assert (flag_letters(p.flags), p.seq, p.ack, p.window) == ("R", 0, 0, 0)
    assert len(p.data) - (20 if family == 6 else 0) == 40
    first, second = (s for s in connection.seen_genuine("client") if s.packet.payload)
    assert first.packet.payload == second.packet.payload
    assert second.time_ns < reset.time_ns


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["host", "sni"])
def test_turkmenistan_resets_a_connection_at_the_client(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """In a real connection one packet is enough, and the RST has the number that the client takes."""
    connection = finished_run("turkmenistan").connection(step, family)
    [p] = connection.forged("client")
    assert connection.forged("server") == []
    assert_signed(p, family)
    assert_bare([p])
    assert (flag_letters(p.flags), p.ack, p.window) == ("R", 0, 0)
    assert p.seq == connection.first_data().packet.ack


@pytest.mark.parametrize("family", FAMILIES)
def test_turkmenistan_answers_a_question_with_localhost(finished_run: FinishedRun, family: int) -> None:
    """A 127.0.0.1 for 300 seconds, flags qr rd ra, 16 bytes behind the question, before the real answer."""
    connection = finished_run("turkmenistan").connection("question", family)
    [p] = connection.forged("client")
    assert_signed(p, family)
    answer, question = DNS(p.payload), DNS(connection.genuine("client")[0].payload)
    assert answer.id == question.id
    assert (answer.qr, answer.rd, answer.ra, answer.aa, answer.rcode) == (1, 1, 1, 0, 0)
    assert (answer.qdcount, answer.ancount, answer.nscount, answer.arcount) == (1, 1, 0, 0)
    record = answer.an[0] if isinstance(answer.an, list) else answer.an
    assert (record.type, record.ttl, record.rdata) == (1, 300, "127.0.0.1")
    assert len(p.payload) == 12 + len(b"\x07blocked\x07example\x00") + 4 + 16
    assert connection.seen_forged("client")[0].time_ns < connection.seen_genuine("server")[0].time_ns


@pytest.mark.parametrize("step", ["once", "too-late", "two-segments", "other-name", "other-question"])
def test_turkmenistan_does_not_see(step: str, finished_run: FinishedRun) -> None:
    """One packet without a connection, two that are too far apart, a request cut at 8 bytes, other names."""
    for family in FAMILIES:
        connection = finished_run("turkmenistan").connection(step, family)
        assert connection.genuine("client")
        assert all(s.packet.ttl != INITIAL_TTL for s in (*connection.inside, *connection.outside))
