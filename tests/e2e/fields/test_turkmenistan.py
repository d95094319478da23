"""Turkmenistan's RSTs and DNS answers on the wire, against the dumps of TMC23 (catalogue section 7)."""

from __future__ import annotations

import pytest
from scapy.layers.dns import DNS

from middlebox.packet import Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, assert_bare

IP_ID, INITIAL_TTL = 30000, 128


APART_S = {"twice": (5, 29), "twice-tls": (27, 29.9), "too-late": (30, 45)}
"""Between two packets without a connection: 5 to 29 s and it was answered; what is longer is the profile's."""


def tos_of(p: Packet) -> int:
    """The TOS byte, or the traffic class."""
    return p.data[1] if p.version == 4 else int.from_bytes(p.data[:2], "big") >> 4 & 0xFF


def assert_signed(p: Packet, family: int) -> None:
    """What every packet of this box has in common."""
    assert (p.ttl, tos_of(p)) == (INITIAL_TTL, 0)
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
@pytest.mark.parametrize("step", sorted(APART_S))
def test_turkmenistan_packets_without_a_connection_are_so_far_apart(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """As in the artefact, on the clock of the box's memory."""
    run = finished_run("turkmenistan")
    first, second = (s for s in run.connection(step, family).seen_genuine("client") if s.packet.payload)
    low, high = APART_S[step]
    assert low <= (second.time_ns - first.time_ns) / 1e9 / run.result["time_scale"] <= high


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["question", "question-from-outside"])
def test_turkmenistan_answers_a_question_with_localhost(
    step: str, finished_run: FinishedRun, family: int
) -> None:
    """A 127.0.0.1 for 300 seconds, flags qr rd ra, 16 bytes behind the question, before any real answer."""
    connection = finished_run("turkmenistan").connection(step, family)
    [p] = connection.forged("client")
    assert connection.client_is_inside is (step == "question")
    assert_signed(p, family)
    answer, question = DNS(p.payload), DNS(connection.genuine("client")[0].payload)
    assert answer.id == question.id
    assert (answer.qr, answer.rd, answer.ra, answer.aa, answer.rcode) == (1, 1, 1, 0, 0)
    assert (answer.qdcount, answer.ancount, answer.nscount, answer.arcount) == (1, 1, 0, 0)
    record = answer.an[0] if isinstance(answer.an, list) else answer.an
    assert (record.type, record.ttl, record.rdata) == (1, 300, "127.0.0.1")
    assert len(p.payload) == 12 + len(b"\x07blocked\x07example\x00") + 4 + 16
    real = connection.seen_genuine("server")
    assert bool(real) is (step == "question")
    assert all(connection.seen_forged("client")[0].time_ns < seen.time_ns for seen in real)


@pytest.mark.parametrize(("step", "size"), [("two-segments", 8), ("two-segments-tls", 4)])
def test_turkmenistan_request_is_cut_where_the_artefact_cuts_it(
    step: str, size: int, finished_run: FinishedRun
) -> None:
    """HTTP behind 8 bytes, TLS behind 4."""
    for family in FAMILIES:
        connection = finished_run("turkmenistan").connection(step, family)
        assert len(connection.first_data().packet.payload) == size


@pytest.mark.parametrize(
    "step", ["once", "too-late", "two-segments", "two-segments-tls", "other-name", "other-question"]
)
def test_turkmenistan_does_not_see(step: str, finished_run: FinishedRun) -> None:
    """One packet without a connection, two that are too far apart, a request cut at 8 bytes, other names."""
    for family in FAMILIES:
        connection = finished_run("turkmenistan").connection(step, family)
        assert connection.genuine("client")
        assert all(s.packet.ttl != INITIAL_TTL for s in (*connection.inside, *connection.outside))
