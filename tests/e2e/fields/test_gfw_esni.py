"""The Great Firewall's silence after ESNI on the wire, against GEN-esni (catalogue sections 2.1 and 3)."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Run, Seen
from tests.e2e.fields.silence import Passages, assert_all_pass, assert_silent_between, passages, since

LAG_S, DURATION_S, THIRD_PLACE_S = 1.0, 120.0, 180.0
ESNI = 0xFFCE
WIDE_SLACK_S = 0.4
"""In which a busy machine may judge a packet later than it was captured (chosen); 16 s by the box's clock."""


def trigger_of(run: Run, family: int) -> Seen:
    """The ClientHello as it came to the box."""
    return run.connection("esni", family).first_data()


def extensions(hello: bytes) -> list[int]:
    """Types of a ClientHello's extensions (RFC 8446 4.1.2)."""
    at = 5 + 4 + 34
    at += 1 + hello[at]
    at += 2 + int.from_bytes(hello[at : at + 2], "big")
    at += 1 + hello[at] + 2
    found = []
    while at < len(hello):
        found.append(int.from_bytes(hello[at : at + 2], "big"))
        at += 4 + int.from_bytes(hello[at + 2 : at + 4], "big")
    return found


FLAGS = {"syns": "S", "acks": "A", "pushes": "PA", "fins": "FA", "resets": "R"}


def packets_like(run: Run, step: str, flags: str, family: int) -> Passages:
    """What a step's client sent with these flags."""
    return [p for p in passages(run.connection(step, family)) if p[0].flags == flags]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", FLAGS)
def test_client_is_cut_off_a_second_after_esni_for_two_minutes(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """Counted from the ClientHello, whatever the flags; what is lost does not start the time anew (120 s, scaled)."""
    run = finished_run("gfw-esni")
    trigger = trigger_of(run, family)
    assert ESNI in extensions(trigger.packet.payload)
    assert 0 not in extensions(trigger.packet.payload)
    end_s = DURATION_S * run.result["time_scale"]
    assert end_s > LAG_S
    sent = since(trigger, packets_like(run, step, FLAGS[step], family))
    before = since(trigger, [p for p in passages(run.connection("esni", family)) if p[0].flags == "S"])
    assert_silent_between(LAG_S, end_s, [*before, *sent], slack_s=WIDE_SLACK_S)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("step", "port", "duration_s"),
    [
        ("five-bytes", 443, DURATION_S),
        ("port-80", 80, DURATION_S),
        ("third-place", 443, THIRD_PLACE_S),
        ("from-outside", 443, DURATION_S),
    ],
)
def test_others_are_cut_off_likewise(
    step: str, port: int, duration_s: float, family: int, finished_run: FinishedRun
) -> None:
    """Cut in two behind the fifth byte; on another port; for 180 s at one of three places; from outside in."""
    run = finished_run("gfw-esni")
    connection = run.connection(step, family)
    assert connection.ends.server_port == port
    assert connection.client_is_inside == (step != "from-outside")
    first, *more = [p for p in connection.seen_genuine("client") if p.packet.payload]
    hello = first.packet.payload
    if step == "five-bytes":
        assert len(hello) == 5
        hello += more[0].packet.payload
    assert ESNI in extensions(hello)
    last = more[0] if step == "five-bytes" else first
    sent = [p for p in passages(connection) if p[0].flags == "S" or p[0].time_ns <= last.time_ns]
    end_s = duration_s * run.result["time_scale"]
    assert_silent_between(LAG_S, end_s, since(last, sent), slack_s=WIDE_SLACK_S)


@pytest.mark.parametrize("family", FAMILIES)
def test_esni_itself_passes_and_nothing_is_injected(finished_run: FinishedRun, family: int) -> None:
    """The hello and the server's answer get through; neither end is told anything that the other did not say."""
    run = finished_run("gfw-esni")
    hello, *_ = [p for p in passages(run.connection("esni", family)) if p[0].packet.payload]
    assert hello[1]
    for step in ("esni", "syns"):
        connection = run.connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
        assert_all_pass(passages(connection, "server"))
    assert run.outcome("esni", family) == "fetched"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["other-port", "other-server", "other-client", "not-punished"])
def test_esni_silence_is_about_client_server_and_port(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """Another port of the server, the same port of another server, and another client go on, all the while."""
    run = finished_run("gfw-esni")
    trigger = trigger_of(run, family)
    end_s = DURATION_S * run.result["time_scale"]
    connections = run.connections(step, family)
    assert_all_pass(*map(passages, connections))
    begun = [(c.seen_genuine("client")[0].time_ns - trigger.time_ns) / 1e9 for c in connections]
    assert [at_s for at_s in begun if LAG_S < at_s < end_s]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["naked", "behind-syn"])
def test_esni_needs_a_complete_handshake(step: str, family: int, finished_run: FinishedRun) -> None:
    """Ten hellos out of nothing, and ten behind a SYN without any SYN+ACK, do nothing."""
    run = finished_run("gfw-esni")
    connection = run.connection(step, family)
    hellos = [s for s in connection.seen_genuine("client") if s.packet.payload]
    assert len(hellos) == 10
    assert all(ESNI in extensions(s.packet.payload) for s in hellos)
    if step == "behind-syn":
        assert connection.seen_genuine("server") == []
    assert_all_pass(passages(connection))


@pytest.mark.parametrize("family", FAMILIES)
def test_tiny_first_segment_hides_esni(finished_run: FinishedRun, family: int) -> None:
    """Four bytes first, the rest after: nobody is cut off (not-punished is the same client, afterwards)."""
    connection = finished_run("gfw-esni").connection("tiny-beginning", family)
    first, second, *_ = [p for p in connection.genuine("client") if p.payload]
    assert len(first.payload) == 4
    assert ESNI in extensions(first.payload + second.payload)
    assert_all_pass(passages(connection))


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_name_is_none_of_its_business(finished_run: FinishedRun, family: int) -> None:
    """The ESNI box looks for the extension only; afterwards the punished client is served again."""
    run = finished_run("gfw-esni")
    assert_all_pass(*(passages(run.connection(step, family)) for step in ("plain-name", "afterwards")))
