"""Henan's RST+ACK on the wire, against the fingerprint table of SP25 (catalogue sections 1, 2.3 and 3)."""

from __future__ import annotations

import pytest

from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, options_of

SIGNATURE = bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
MIN_MS, MAX_MS = 2.30, 30.49
SLACK_MS = 200.0
"""For a busy machine: a forgery can leave late, never early (chosen)."""


@pytest.mark.parametrize("family", FAMILIES)
def test_henan_reset_has_the_published_fields(finished_run: FinishedRun, family: int) -> None:
    """One RST+ACK with the ten bytes, IP ID 1, DF clear, no options, numbers the client takes, TTL 58 at the client."""
    run = finished_run("henan")
    for step, connections in (("sni", 20), ("host", 1)):
        found = run.connections(step, family)
        assert len(found) == connections
        for connection in found:
            [reset] = connection.forged("client")
            assert connection.forged("server") == []
            assert (reset.payload, options_of(reset)) == (SIGNATURE, b"")
            hello = connection.first_data().packet
            assert connection.relative(reset) == (1, 1 + len(hello.payload))
            if family == 4:
                assert (reset.ip_id, reset.dont_fragment) == (1, False)
            [arrived] = [p for p in run.at_host("sim1", connection) if p.payload == SIGNATURE]
            assert arrived.ttl == 58
        assert {seen.flags for c in found for seen in c.seen_forged("client")} == {"RA"}


@pytest.mark.parametrize("family", FAMILIES)
def test_henan_delay_is_within_what_was_measured(finished_run: FinishedRun, family: int) -> None:
    """Never before the shortest delay that was measured, nor after the longest."""
    delays_ms = [
        (c.seen_forged("client")[0].time_ns - c.first_data().time_ns) / 1e6
        for c in finished_run("henan").connections("sni", family)
    ]
    assert min(delays_ms) >= MIN_MS
    assert max(delays_ms) <= MAX_MS + SLACK_MS


@pytest.mark.parametrize("family", FAMILIES)
def test_henan_needs_no_handshake_and_no_port(finished_run: FinishedRun, family: int) -> None:
    """A ClientHello or GET that comes out of nothing is answered like any other, on 443 and on 12345."""
    for step in ("naked", "any-port"):
        connection = finished_run("henan").connection(step, family)
        [reset] = connection.forged("client")
        [trigger] = connection.genuine("client")[:1]
        assert reset.payload == SIGNATURE
        assert (reset.seq, reset.ack) == (trigger.ack, trigger.seq + len(trigger.payload))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "step", ["with-options", "host-with-options", "other-name", "two-segments", "two-records", "afterwards"]
)
def test_henan_does_not_see(step: str, family: int, finished_run: FinishedRun) -> None:
    """Headers with options, a name cut into two segments or records, other names, and the time after a hit."""
    run = finished_run("henan")
    connection = run.connection(step, family)
    assert connection.forged("client") + connection.forged("server") == []
    assert run.outcome(step, family) == "fetched"
    if "options" in step:
        assert options_of(connection.first_data().packet)
    else:
        assert not options_of(connection.first_data().packet)
