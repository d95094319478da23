"""Airtel's RST+ACKs on the wire, against GEN-india (catalogue sections 7 and 11)."""

from __future__ import annotations

import pytest

from middlebox.packet import checksum_is_right, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, RST, Connection, Run, assert_bare, options_of

MISSED = 1, 36
"""Of 400 names, 3.7 per cent each: fewer or more come once in two million times by chance."""
WON_SHARE = 26 / 385, 94 / 385
"""The same of 385 races, 15 per cent each."""


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["sni", "host", "naked", "tls-on-80", "http-on-443"])
def test_airtel_sends_one_reset_each_way_with_the_triggers_numbers(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """RST+ACK; towards the server the trigger's own seq and ack, towards the client the same two exchanged."""
    connection = finished_run("airtel").connection(step, family)
    trigger = connection.first_data().packet
    [to_server], [to_client] = connection.forged("server"), connection.forged("client")
    assert (to_server.seq, to_server.ack) == (trigger.seq, trigger.ack)
    assert (to_client.seq, to_client.ack) == (trigger.ack, trigger.seq)
    assert {flag_letters(p.flags) for p in (to_server, to_client)} == {"RA"}
    assert_bare([to_server, to_client])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["sni", "host"])
def test_airtel_loses_the_race_to_the_server(step: str, family: int, finished_run: FinishedRun) -> None:
    """The request is there first, the RST+ACK's number is old: the server answers as if nothing had been. If not yet,
    the client's kernel may refuse what the server says before its answer is ready."""
    run = finished_run("airtel")
    connection = run.connection(step, family)
    at_server = run.at_host("web", connection)
    data = next(n for n, p in enumerate(at_server) if p.payload and p.sport == connection.ends.client_port)
    reset = next(n for n, p in enumerate(at_server) if flag_letters(p.flags) == "RA")
    assert data < reset
    answered = any(p.payload and p.dport == connection.ends.client_port for p in at_server[data:])
    refused = any(flag_letters(p.flags) == "R" for p in at_server[reset:])
    assert answered or refused


@pytest.mark.parametrize(
    "step",
    [
        "two-segments", "other-name", "other-port", "unknown-option", "unknown-option-http", "request-then-hello",
        "hello-then-hello", "afterwards",
    ],
)  # fmt: skip
def test_airtel_does_not_see(step: str, finished_run: FinishedRun) -> None:
    """A name in two segments, other names and ports, an option that it does not know, a ClientHello behind an innocent
    request or name; nobody is punished."""
    for family in FAMILIES:
        connection = finished_run("airtel").connection(step, family)
        assert connection.first_data()
        assert connection.forged("client") + connection.forged("server") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_airtel_is_not_blind_to_a_request_behind_an_innocent_one(
    finished_run: FinishedRun, family: int
) -> None:
    """Two requests, right behind each other: the second, with the blocked name, is answered."""
    connection = finished_run("airtel").connection("request-then-request", family)
    innocent, blocked = connection.genuine("client")
    assert (b"Host: other.example" in innocent.payload, b"Host: blocked.example" in blocked.payload) == (
        True,
        True,
    )
    assert [(p.seq, p.ack) for p in connection.forged("server")] == [(blocked.seq, blocked.ack)]


def test_airtel_triggers_and_evasions_are_those_of_the_source(finished_run: FinishedRun) -> None:
    """A wrong checksum is answered; a segment with the whole name in it is not, if it does not end the ClientHello; the
    packets in front are innocent and wrong too."""
    run = finished_run("airtel")
    for family in FAMILIES:
        for step in ("tls-on-80", "request-then-hello", "request-then-request", "hello-then-hello"):
            assert not checksum_is_right(run.connection(step, family).first_data().packet)
        for step in ("request-then-hello", "hello-then-hello"):
            innocent, hello = [p.payload for p in run.connection(step, family).genuine("client")]
            assert b"blocked.example" not in innocent
            assert hello.startswith(b"\x16\x03\x01")
            assert b"blocked.example" in hello
        first = run.connection("two-segments", family).first_data().packet.payload
        assert (len(first), b"blocked.example" in first) == (400, True)
        for step in ("unknown-option", "unknown-option-http"):
            p = run.connection(step, family).first_data().packet
            assert options_of(p) == b"\xfd\x02\x01\x01"


@pytest.mark.parametrize("family", FAMILIES)
def test_airtel_is_blind_for_a_moment_behind_a_name(finished_run: FinishedRun, family: int) -> None:
    """Of three ClientHellos the first is answered, with its own false number; the second is not, right behind it; the
    third is, a while later."""
    connection = finished_run("airtel").connection("one-after-another", family)
    first, second, third = [p for p in connection.genuine("client") if p.payload]
    assert first.payload == second.payload == third.payload
    assert first.ack != second.ack == third.ack
    assert [(p.seq, p.ack) for p in connection.forged("server")] == [(p.seq, p.ack) for p in (first, third)]
    assert [(p.ack, p.seq) for p in connection.forged("client")] == [(p.seq, p.ack) for p in (first, third)]


def share_connections(run: Run) -> list[Connection]:
    return [
        connection
        for family in FAMILIES
        for step in ("first", "second")
        for connection in run.connections(step, family)
    ]


def test_airtel_misses_as_many_as_published(finished_run: FinishedRun) -> None:
    """3.7 per cent of 400 names, to either end alike."""
    connections = share_connections(finished_run("airtel-share"))
    assert len(connections) == 400
    assert all(len(c.forged("client")) == len(c.forged("server")) <= 1 for c in connections)
    missed = sum(c.forged("client") == [] for c in connections)
    assert MISSED[0] <= missed <= MISSED[1]


def test_airtel_wins_the_race_to_the_server_where_packets_overtake(finished_run: FinishedRun) -> None:
    """15.0 per cent of the RST+ACKs are at the server before the ClientHello, which it then does not take any more."""
    run = finished_run("airtel-share")
    connections = [c for c in share_connections(run) if c.forged("server")]
    won = 0
    for connection in connections:
        arrived = [
            flag_letters(p.flags) if p.flags & RST else "hello"
            for p in run.at_host("web", connection)
            if p.sport == connection.ends.client_port and (p.payload or flag_letters(p.flags) == "RA")
        ]
        first = arrived[0] == "RA"
        won += first
        hello = connection.first_data().packet
        taken = any(p.ack == hello.seq + len(hello.payload) for p in connection.genuine("server"))
        assert taken is not first
    low, high = WON_SHARE
    assert low <= won / len(connections) <= high
