"""Three ways to close port 25 to subscribers, in the captures (catalogue section 8, last rows)."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from middlebox.packet import SYN
from scenarios.captures import read_capture
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Run, options_of
from tests.e2e.fields.two_ends import End, both_ends

PROVIDER = {4: ip_address("203.0.113.26").packed, 6: ip_address("2001:db8:3::26").packed}


def at_provider(run: Run, client: bytes, port: int) -> list[tuple[int, int, int, bytes]]:
    """What the operator's server received of this client: flags, numbers, payload."""
    captures = read_capture(run.directory / "captures" / "provider.pcapng")
    packets = [c.packet for c in captures if (c.packet.src, c.packet.sport) == (client, port)]
    return [(p.flags, p.seq, p.ack, p.payload) for p in packets]


@pytest.mark.parametrize("family", FAMILIES)
def test_silent_block_lets_no_syn_through_and_nothing_back(finished_run: FinishedRun, family: int) -> None:
    """SYNs leave the client, none arrives, and none is answered by anybody."""
    run = finished_run("port-25-drop")
    at_client, at_server = both_ends(run, run.connection("relay", family))
    assert {p.flags & 0xFF for p in at_client.packets} == {SYN}
    assert at_client.sent_by("server") == []
    assert at_server.packets == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_refusal_looks_like_a_closed_port(finished_run: FinishedRun, family: int) -> None:
    """One RST+ACK, seq 0, ack one above the SYN, bare; the server has seen nothing."""
    run = finished_run("port-25-reset")
    connection = run.connection("relay", family)
    [syn] = connection.genuine("client")
    [reset] = connection.seen_forged("client")
    assert (reset.flags, reset.packet.seq, reset.packet.ack) == ("RA", 0, (syn.seq + 1) & 0xFFFFFFFF)
    assert (options_of(reset.packet), reset.packet.payload, reset.packet.window) == (b"", b"", 0)
    _, at_server = both_ends(run, connection)
    assert at_server.packets == ()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["opportunistic", "strict"])
def test_redirected_connection_is_the_same_at_the_other_server(
    finished_run: FinishedRun, step: str, family: int
) -> None:
    """The server that was meant sees nothing; the operator's sees every packet, as it was sent."""
    run = finished_run("port-25-redirect")
    connection = run.connection(step, family)
    at_client, at_meant = both_ends(run, connection)
    assert at_meant.packets == ()
    sent = [(p.flags, p.seq, p.ack, p.payload) for p in at_client.sent_by("client")]
    ends = connection.ends
    assert at_provider(run, ends.client, ends.client_port) == sent
    assert at_client.lines("server")[0].startswith(b"220 smtp.provider.example ")
    assert {p.src for p in at_client.sent_by("server")} == {ends.server} != {PROVIDER[family]}


@pytest.mark.parametrize("family", FAMILIES)
def test_redirected_mail_arrives_whole(finished_run: FinishedRun, family: int) -> None:
    """50 kB through the kernel's NAT: what the client has sent is what the operator's server received."""
    run = finished_run("port-25-redirect")
    connection = run.connection("opportunistic", family)
    ends = connection.ends
    at_client, _ = both_ends(run, connection)
    captures = read_capture(run.directory / "captures" / "provider.pcapng")
    there = End(
        ends,
        tuple(
            c.packet for c in captures if c.packet.sport == ends.client_port and c.packet.src == ends.client
        ),
    )
    assert len(there.stream("client")) > 50_000
    assert there.stream("client") == at_client.stream("client")


@pytest.mark.parametrize("slug", ["port-25-drop", "port-25-reset", "port-25-redirect"])
@pytest.mark.parametrize(("step", "port"), [("submission", 587), ("implicit-tls", 465)])
@pytest.mark.parametrize("family", FAMILIES)
def test_submission_is_left_alone(
    finished_run: FinishedRun, slug: str, step: str, port: int, family: int
) -> None:
    """Ports 587 and 465 work, with TLS, at the server that was meant."""
    run = finished_run(slug)
    assert run.outcome(step, family) == "delivered"
    connection = run.connection(step, family)
    assert (connection.ends.server_host, connection.ends.server_port) == ("mail", port)
    assert connection.forged("client") == connection.forged("server") == []
    at_client, at_server = both_ends(run, connection)
    assert at_server.stream("client") == at_client.stream("client") != b""
