"""Henan's RST+ACK on the wire, against the fingerprint table of SP25 (catalogue sections 1, 2.3 and 3)."""

from __future__ import annotations

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.delays import assert_published, delay_of, meant_delays_ms
from tests.e2e.fields.finished import FAMILIES, Connection, Seen, options_of

SIGNATURE = bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])
QUANTILES_MS = {0: 2.30, 0.05: 2.41, 0.25: 2.50, 0.50: 2.61, 0.75: 2.86, 0.95: 4.14, 1: 30.49}
"""From a ClientHello to its answer, as SP25 has them by share: shortest to longest."""
MANY = ("many-names", "many-hosts")
NAME = b"blocked.example"


def assert_published_fields(reset: Packet, trigger: Packet) -> None:
    """A RST+ACK with the ten bytes, IP ID 1, DF clear, no options, and numbers that the client takes."""
    assert (flag_letters(reset.flags), options_of(reset), reset.payload) == ("RA", b"", SIGNATURE)
    assert (reset.seq, reset.ack) == (trigger.ack, trigger.seq + len(trigger.payload))
    if reset.version == 4:
        assert (reset.ip_id, reset.dont_fragment) == (1, False)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("step", "count", "port"), [("sni", 20, 443), ("host", 1, 80), ("naked", 1, 443), ("any-port", 1, 12345)]
)
def test_henan_reset_has_the_published_fields(
    step: str, count: int, port: int, family: int, finished_run: FinishedRun
) -> None:
    """One, to the client alone, with TTL 58 there; on any port, and for a packet that comes out of nothing too."""
    run = finished_run("henan")
    found = run.connections(step, family)
    assert len(found) == count
    for connection in found:
        [reset] = connection.forged("client")
        assert connection.forged("server") == []
        assert connection.ends.server_port == port
        assert_published_fields(reset, connection.first_data().packet)
        [arrived] = [p for p in run.at_host("sim1", connection) if p.payload == SIGNATURE]
        assert arrived.ttl == 58
        if step in ("naked", "any-port"):
            assert flag_letters(connection.genuine("client")[0].flags) == "PA"


def answers(connection: Connection) -> list[tuple[Seen, Seen]]:
    """What was answered and the answer, which acknowledges it."""
    asked = {
        s.packet.seq + len(s.packet.payload): s for s in connection.seen_genuine("client") if s.packet.payload
    }
    return [(asked[answer.packet.ack], answer) for answer in connection.seen_forged("client")]


@pytest.mark.parametrize("step", MANY)
def test_henan_delay_has_the_published_quantiles(step: str, finished_run: FinishedRun) -> None:
    """2.30, 2.41, 2.50, 2.61, 2.86, 4.14 and 30.49 ms, from each of 400 packets with a name to its answer."""
    run = finished_run("henan")
    meant_ms = meant_delays_ms(run)
    delays = []
    for family in FAMILIES:
        connection = run.connection(step, family)
        assert connection.forged("server") == []
        found = answers(connection)
        assert len(found) == 200
        for trigger, reset in found:
            assert_published_fields(reset.packet, trigger.packet)
            delays.append(delay_of(connection, trigger, reset, meant_ms[reset.packet.data]))
    assert_published(delays, QUANTILES_MS)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    "step",
    [
        "with-options", "host-with-options", "other-name", "two-segments", "host-in-two-segments", "two-records",
        "afterwards",
    ],
)  # fmt: skip
def test_henan_does_not_see(step: str, family: int, finished_run: FinishedRun) -> None:
    """Headers with options, a name cut into two segments or records, other names, and the time after a hit."""
    run = finished_run("henan")
    connection = run.connection(step, family)
    assert connection.forged("client") + connection.forged("server") == []
    assert run.outcome(step, family) == "fetched"
    said = [p.payload for p in connection.genuine("client") if p.payload]
    if "options" in step:
        assert options_of(connection.first_data().packet)
    else:
        assert not options_of(connection.first_data().packet)
    if step == "host-in-two-segments":
        assert not any(NAME in part for part in said[:2])
        assert NAME in said[0] + said[1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["sni-from-outside", "host-from-outside"])
def test_henan_looks_at_nothing_from_outside(step: str, family: int, finished_run: FinishedRun) -> None:
    """The packets that are answered inside out pass in peace outside in."""
    connection = finished_run("henan").connection(step, family)
    assert not connection.client_is_inside
    first = connection.first_data().packet
    assert NAME in first.payload
    assert not options_of(first)
    assert connection.forged("client") + connection.forged("server") == []
