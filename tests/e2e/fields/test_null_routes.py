"""Iran's and Kazakhstan's null routes on the wire, against WOOT21, GEN-woot21 and GEN-esni (catalogue section 7)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.silence import Passages, assert_all_pass, passages

DURATION_S = {"iran-null": 180.0, "kazakhstan-null": 120.0}


def pause_s(sent: Passages) -> float:
    """Between the first two packets, as they came to the box."""
    return (sent[1][0].time_ns - sent[0][0].time_ns) / 1e9


everywhere = pytest.mark.parametrize("family", FAMILIES)
both = pytest.mark.parametrize("country", sorted(DURATION_S))


@everywhere
@both
@pytest.mark.parametrize("step", ["sni", "host"])
def test_request_with_a_blocked_name_never_gets_through(
    step: str, country: str, family: int, finished_run: FinishedRun
) -> None:
    """The handshake passes, the request does not, however often; the server's packets pass; nothing is injected."""
    run = finished_run(country)
    connection = run.connection(step, family)
    sent = passages(connection)
    assert [passed for seen, passed in sent if not seen.packet.payload and "F" not in seen.flags][:2] == [
        True,
        True,
    ]
    requests = [passed for seen, passed in sent if seen.packet.payload]
    assert len(requests) > 1
    assert set(requests) == {False}
    assert_all_pass(passages(connection, "server"))
    assert connection.forged("client") + connection.forged("server") == []
    assert run.outcome(step, family) == "timeout"


@everywhere
@both
def test_null_route_ends_when_its_time_is_over(country: str, family: int, finished_run: FinishedRun) -> None:
    """180 s (Iran) and 120 s (Kazakhstan), scaled: a tenth less and it is dropped, a tenth more and it passes."""
    run = finished_run(country)
    duration_s = DURATION_S[country] * run.result["time_scale"]
    sent = passages(run.connection("short-silence", family))
    assert [(seen.flags, passed) for seen, passed in sent] == [("S", True), ("PA", False), ("A", False)]
    assert 0.9 * duration_s <= pause_s(sent[1:]) < duration_s
    sent = passages(run.connection("long-silence", family))
    assert [(seen.flags, passed) for seen, passed in sent] == [("PA", False), ("A", True), ("A", True)]
    assert duration_s < pause_s(sent) < 1.5 * duration_s


@everywhere
@both
def test_null_route_needs_no_answer_of_the_server(
    country: str, family: int, finished_run: FinishedRun
) -> None:
    """A SYN with the number before the request's and the request set it off (WOOT21)."""
    connection = finished_run(country).connection("short-silence", family)
    syn, request, _ = connection.genuine("client")
    assert request.seq == syn.seq + 1
    assert request.payload.startswith(b"GET ")
    assert connection.genuine("server") == []


@everywhere
@both
def test_null_route_is_renewed_by_what_it_drops(country: str, family: int, finished_run: FinishedRun) -> None:
    """Packets that come more often than the time are dropped for longer; in Iran FIN and RST pass (GEN-esni)."""
    run = finished_run(country)
    duration_s = DURATION_S[country] * run.result["time_scale"]
    sent = passages(run.connection("renewed", family))
    ends_pass = country == "iran-null"
    assert [(seen.flags, passed) for seen, passed in sent] == [
        ("PA", False), ("A", False), ("A", False), ("FA", ends_pass), ("R", ends_pass), ("PA", False),
    ]  # fmt: skip
    times_s = [seen.time_ns / 1e9 for seen, _ in sent]
    assert times_s[2] - times_s[0] > duration_s
    assert max(b - a for a, b in pairwise(times_s)) < duration_s


@everywhere
@both
def test_null_route_is_about_one_connection(country: str, family: int, finished_run: FinishedRun) -> None:
    """Other connections of the same client to the same port go on, all the while."""
    run = finished_run(country)
    others = run.connections("other-connections", family)
    assert len(others) == 8
    assert_all_pass(*map(passages, others))
    blocked_ns = run.connection("sni", family).first_data().time_ns
    assert [c for c in others if c.seen_genuine("client")[0].time_ns > blocked_ns]
