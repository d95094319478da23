"""The signatures of South Korea on the wire, against SIG23, numbers 16 and 17 (catalogue sections 5 and 7)."""

from __future__ import annotations

import pytest

from middlebox.packet import ACK, Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, assert_bare


def inbound_resets(run_packets: list[Packet], connection: Connection) -> list[Packet]:
    """What a server sees: RSTs from the client's address, up to the first that its kernel sends in answer."""
    inbound = [p for p in run_packets if p.sport == connection.ends.client_port]
    after_data = next(n for n, p in enumerate(inbound) if p.payload)
    return [p for p in inbound[after_data + 1 :] if flag_letters(p.flags) == "R"][:2]


@pytest.mark.parametrize("family", FAMILIES)
def test_south_korea_server_sees_resets_with_differing_acks(finished_run: FinishedRun, family: int) -> None:
    """Signature 16: behind PSH+ACK more than one RST, and a change in acknowledgment numbers."""
    run = finished_run("south-korea")
    for connection in run.connections("sni", family):
        first, second = inbound_resets(run.at_host("web", connection), connection)
        assert first.ack != second.ack
        for towards in ("client", "server"):
            pair = connection.forged(towards)
            assert_bare(pair)
            assert len({p.ack for p in pair}) == 2
            assert not any(p.flags & ACK for p in pair)


@pytest.mark.parametrize("family", FAMILIES)
def test_south_korea_server_sees_one_reset_with_ack_zero(finished_run: FinishedRun, family: int) -> None:
    """Signature 17: behind PSH+ACK more than one RST, and one of the acknowledgment numbers is zero."""
    run = finished_run("south-korea")
    for connection in run.connections("host", family):
        assert [bool(p.ack) for p in inbound_resets(run.at_host("web", connection), connection)] == [
            True,
            False,
        ]
        for towards in ("client", "server"):
            assert sorted(bool(p.ack) for p in connection.forged(towards)) == [False, True]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["sni", "host"])
@pytest.mark.parametrize("towards", ["client", "server"])
def test_south_korea_ttls_are_random(towards: str, step: str, family: int, finished_run: FinishedRun) -> None:
    """They are drawn for each RST, evenly: many values, spread over the range, no clusters; from 32 up (chosen)."""
    packets = [p for c in finished_run("south-korea").connections(step, family) for p in c.forged(towards)]
    ttls = sorted(p.ttl for p in packets)
    assert len(set(ttls)) > len(ttls) // 2
    assert 32 <= ttls[0] < 80
    assert ttls[-1] > 200
    assert 90 < ttls[len(ttls) // 2] < 200


@pytest.mark.parametrize("step", ["cut-at-90", "other-name"])
def test_south_korea_does_not_see(step: str, finished_run: FinishedRun) -> None:
    """A ClientHello cut at 90 bytes, and other names."""
    for family in FAMILIES:
        connection = finished_run("south-korea").connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
