"""Iran's protocol filter on the wire, against GEN-iran (catalogue section 7)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from middlebox.packet import checksum_is_right
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.silence import Passages, assert_all_pass, passages

DURATION_S = 60.0
X36 = b"x" * 36
DNS = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
FINGERPRINTS = {
    "dns-on-53": DNS, "dns-14-questions-on-80": DNS[:5] + b"\x0e" + DNS[6:], "dns-on-443": DNS,
    "get-on-53": b"GET /abc", "post-on-80": b"POST /ab", "put-on-443": b"PUT /abc", "head-on-53": b"HEAD /ab",
    "connect-on-80": b"CONNECT a", "options-on-443": b"OPTIONS *", "delete-on-53": b"DELETE /",
    "tls-2-on-53": b"\x16\x03\x02\x00\x24" + X36, "tls-1-on-80": b"\x16\x03\x01\x00\x24" + X36,
    "tls-3-on-443": b"\x16\x03\x03\x00\x24" + X36, "bad-checksum": b"GET /abc",
}  # fmt: skip
"""Step -> what it says first: QR 0, fewer than 15 questions, no answer in 12 bytes; a verb and a space in 8; a record
of 41 bytes whose length is right."""
NEARLY = {
    "dns-answer": DNS[:2] + b"\x81" + DNS[3:], "dns-15-questions": DNS[:5] + b"\x0f" + DNS[6:],
    "dns-with-answer": DNS[:7] + b"\x01" + DNS[8:], "dns-11-bytes": DNS[:11],
    "http-7-bytes": b"GET /ab", "http-patch": b"PATCH /abc", "http-trace": b"TRACE /abc", "http-small": b"get /abc",
    "http-no-space": b"GETX /abc", "http-cut": b"GE",
    "tls-40-bytes": b"\x16\x03\x01\x00\x23" + X36[:35], "tls-0": b"\x16\x03\x00\x00\x24" + X36,
    "tls-4": b"\x16\x03\x04\x00\x24" + X36, "tls-wrong-length": b"\x16\x03\x01\x00\x25" + X36,
}  # fmt: skip
"""The same with one thing wrong."""
LET_ALONE = ("known-second", "other-port", "from-outside", "web", "secure-web")


def with_data(found: Passages) -> list[bool]:
    """Whether each packet with data passed."""
    return [passed for seen, passed in found if seen.packet.payload]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", NEARLY)
def test_protocol_that_is_not_quite_known_gets_one_packet_through(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """The second packet with data is dropped, and the third with it, on each of the three ports."""
    connection = finished_run("iran-filter").connection(step, family)
    assert connection.ends.server_port in (53, 80, 443)
    assert with_data(passages(connection)) == [True, False, False]
    assert connection.forged("client") + connection.forged("server") == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", [*FINGERPRINTS, *LET_ALONE])
def test_known_protocol_passes_on_any_of_the_ports(step: str, family: int, finished_run: FinishedRun) -> None:
    """Any of the three on any of the three ports, first or second; other ports and who comes from outside go free."""
    connection = finished_run("iran-filter").connection(step, family)
    assert_all_pass(passages(connection))


def test_fingerprints_are_those_of_the_catalogue(finished_run: FinishedRun) -> None:
    """What the steps say, each of DNS, HTTP and TLS on each of the three ports; the second packet is nothing known."""
    run = finished_run("iran-filter")
    for step, said in (FINGERPRINTS | NEARLY).items():
        first, second, _ = [p.payload for p in run.connection(step, 4).genuine("client")]
        assert (step, first) == (step, said)
        assert (second == b"nothing known") is (step in FINGERPRINTS)
    ports = {(step.split("-")[0], run.connection(step, 4).ends.server_port) for step in FINGERPRINTS}
    assert {(protocol, port) for protocol in ("dns", "tls") for port in (53, 80, 443)} <= ports
    assert {("get", 53), ("post", 80), ("put", 443)} <= ports
    said = b"".join(p.payload for p in run.connection("http-cut", 4).genuine("client")[:2])
    assert said.startswith(b"GET /abc")


def test_checksum_is_not_looked_at(finished_run: FinishedRun) -> None:
    """A request with a wrong checksum, which no server would take, opens the way (GEN-iran, strategy 3)."""
    for family in FAMILIES:
        first, *others = finished_run("iran-filter").connection("bad-checksum", family).genuine("client")
        assert [checksum_is_right(p) for p in (first, *others)] == [False, True, True]


@pytest.mark.parametrize("family", FAMILIES)
def test_server_goes_on_while_the_client_is_silenced(finished_run: FinishedRun, family: int) -> None:
    """The first part and its answer pass, the second part never does while it is repeated; the server's packets do."""
    connection = finished_run("iran-filter").connection("unknown", family)
    first, *rest = with_data(passages(connection))
    assert (first, rest[0]) == (True, False)
    assert_all_pass(passages(connection, "server"))
    assert connection.first_data("server").packet.payload == connection.first_data().packet.payload


@pytest.mark.parametrize("family", FAMILIES)
def test_client_is_silenced_for_a_minute(finished_run: FinishedRun, family: int) -> None:
    """60 s, scaled: a good tenth less and the packet is dropped, a good tenth more and it passes."""
    run = finished_run("iran-filter")
    duration_s = DURATION_S * run.result["time_scale"]
    for step, passes, low, high in (("short-silence", False, 0.85, 1.0), ("long-silence", True, 1.0, 1.5)):
        sent = passages(run.connection(step, family))
        assert [passed for _, passed in sent[:3]] == [True, False, passes]
        assert low * duration_s < (sent[2][0].time_ns - sent[1][0].time_ns) / 1e9 < high * duration_s


@pytest.mark.parametrize("family", FAMILIES)
def test_each_packet_starts_the_minute_anew(finished_run: FinishedRun, family: int) -> None:
    """Packets that come more often than the time are dropped for longer than it."""
    run = finished_run("iran-filter")
    duration_s = DURATION_S * run.result["time_scale"]
    sent = passages(run.connection("renewed", family))
    assert [passed for _, passed in sent] == [True, False, False, False]
    times_s = [seen.time_ns / 1e9 for seen, _ in sent]
    assert times_s[3] - times_s[1] > duration_s
    assert max(b - a for a, b in pairwise(times_s)) < duration_s


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_one_connection_that_is_silenced(finished_run: FinishedRun, family: int) -> None:
    """Others of the same client to the same port pass, all the while."""
    run = finished_run("iran-filter")
    others = run.connections("another-connection", family)
    assert_all_pass(*map(passages, others))
    blocked = run.connection("renewed", family)
    assert {c.ends.server_port for c in others} == {blocked.ends.server_port}
    assert {c.ends.client for c in others} == {blocked.ends.client}
    begin, *_, end = [seen.time_ns for seen, _ in passages(blocked)[1:]]
    assert [c for c in others if begin < c.first_data().time_ns < end]
