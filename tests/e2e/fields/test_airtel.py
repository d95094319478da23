"""Airtel's RST+ACKs on the wire, against GEN-india (catalogue sections 7 and 11)."""

from __future__ import annotations

import pytest

from middlebox.packet import flag_letters
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, assert_bare


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["sni", "host", "naked", "tls-on-80"])
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
    """The request is there first, the RST+ACK's number is old: the server answers as if nothing had been."""
    run = finished_run("airtel")
    connection = run.connection(step, family)
    at_server = run.at_host("web", connection)
    data = next(n for n, p in enumerate(at_server) if p.payload and p.sport == connection.ends.client_port)
    reset = next(n for n, p in enumerate(at_server) if flag_letters(p.flags) == "RA")
    assert data < reset
    assert any(p.payload and p.dport == connection.ends.client_port for p in at_server[data:])


@pytest.mark.parametrize("step", ["two-segments", "other-name", "other-port", "unknown-option", "afterwards"])
def test_airtel_does_not_see(step: str, finished_run: FinishedRun) -> None:
    """A name in two segments, other names and ports, an option that it does not know; nobody is punished."""
    for family in FAMILIES:
        connection = finished_run("airtel").connection(step, family)
        assert connection.first_data()
        assert connection.forged("client") + connection.forged("server") == []
