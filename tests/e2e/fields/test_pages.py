"""Block pages in place of the real answer and racing it, in the captures (catalogue section 7, section 12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Run, options_of
from tests.e2e.fields.two_ends import both_ends


def fetched_page(run: Run, step: str, family: int) -> bytes:
    """What curl has kept of a step; its folder goes with a good run, so this is put together from the capture."""
    at_client, _ = both_ends(run, run.connection(step, family))
    return at_client.stream("server").partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("slug", "step", "asked", "answer"),
    [
        ("content-block", "locked", b"Host: adult.example\r\n", b"HTTP/1.1 403 Forbidden\r\n"),
        ("bluecoat-page", "word", b"GET /?q=proxy HTTP/1.1\r\n", b"HTTP/1.1 403 Forbidden\r\n"),
        ("bluecoat-page", "word-in-path", b"GET /anonproxy1 HTTP/1.1\r\n", b"HTTP/1.1 403 Forbidden\r\n"),
        ("bluecoat-page", "word-in-host", b"Host: web-proxy.example\r\n", b"HTTP/1.1 403 Forbidden\r\n"),
        ("bluecoat-page", "domain", b"Host: www.blocked.example\r\n", b"HTTP/1.1 302 Found\r\n"),
    ],
)
def test_page_comes_in_place_of_the_answer(
    finished_run: FinishedRun, slug: str, step: str, asked: bytes, answer: bytes, family: int
) -> None:
    """FIN, PSH and ACK with page or redirect to the client; nothing of the request, and a RST, to the server."""
    run = finished_run(slug)
    connection = run.connection(step, family)
    page, acknowledgment = connection.seen_forged("client")
    assert page.flags == "FPA"
    request = connection.first_data().packet
    assert asked in request.payload
    assert connection.relative(page.packet) == (1, 1 + len(request.payload))
    assert page.packet.payload.startswith(answer)
    assert page.packet.payload.endswith(b"\r\n\r\n" if b" 302 " in answer else b"</html>\n")
    assert (b"\r\nLocation: http://denied.example/\r\n" in page.packet.payload) == (b" 302 " in answer)
    assert (acknowledgment.flags, acknowledgment.packet.payload) == ("A", b"")
    behind = 1 + len(page.packet.payload) + 1  # SYN and FIN count as one each
    assert connection.relative(acknowledgment.packet) == (behind, 1 + len(request.payload) + 1)
    [reset] = connection.seen_forged("server")
    assert (reset.flags, connection.relative(reset.packet)) == ("RA", (1, 1))
    assert options_of(page.packet) == options_of(reset.packet) == b""
    at_client, at_server = both_ends(run, connection)
    assert [p.payload for p in at_server.sent_by("client") if p.payload] == []
    assert [p for p in at_client.sent_by("server") if p.flags & 4] == []


@pytest.mark.parametrize("family", FAMILIES)
def test_page_is_for_those_alone_whose_lock_is_on(finished_run: FinishedRun, family: int) -> None:
    """The one who has opted out, and another name, get the site; HTTPS gets a RST at both ends."""
    run = finished_run("content-block")
    for step in ("opted-out", "other-site"):
        connection = run.connection(step, family)
        assert connection.forged("client") == connection.forged("server") == []
        assert b"A page of web.example." in fetched_page(run, step, family)
    https = run.connection("locked-https", family)
    for towards in ("client", "server"):
        assert [seen.flags for seen in https.seen_forged(towards)] == ["R"]


@pytest.mark.parametrize("family", FAMILIES)
def test_notice_with_fin_comes_first_then_rst(finished_run: FinishedRun, family: int) -> None:
    """Two packets to the client, in this order, the second behind the first, none to the server."""
    run = finished_run("notice-india")
    connection = run.connection("noticed", family)
    notice, reset = connection.seen_forged("client")
    assert [seen.flags for seen in (notice, reset)] == ["FPA", "R"]
    request = 1 + len(connection.first_data().packet.payload)
    length = len(notice.packet.payload)
    assert connection.relative(notice.packet) == (1, request)
    assert connection.relative(reset.packet)[0] == 1 + length + 1  # the FIN counts as one
    assert (reset.packet.ack, reset.packet.window, reset.packet.payload) == (0, 0, b"")
    assert connection.forged("server") == []
    answer = connection.first_data("server")
    assert answer.packet.payload.startswith(b"HTTP/1.1 200 OK\r\nServer: nginx")
    assert notice.time_ns <= reset.time_ns < answer.time_ns
    at_client, at_server = both_ends(run, connection)
    arrived = [p.payload for p in at_client.sent_by("server") if p.payload]
    assert arrived[0] == notice.packet.payload
    assert arrived[1].startswith(b"HTTP/1.1 200 OK\r\nServer: nginx")
    assert at_server.stream("client").startswith(b"GET / HTTP/1.1\r\n")


@pytest.mark.parametrize("family", FAMILIES)
def test_webmail_password_is_readable_on_the_way(finished_run: FinishedRun, family: int) -> None:
    """In clear it crosses the box and reaches the server; encrypted it was reset at the name."""
    run = finished_run("webmail-clear")
    secret = b"user=alice%40mail.example&password=s3cr3t-PW"
    in_clear = run.connection("in-clear", family)
    for end in both_ends(run, in_clear):
        assert end.stream("client").endswith(secret)
    assert any(secret in p.payload for p in in_clear.genuine("client"))
    encrypted = run.connection("encrypted", family)
    hello = encrypted.first_data().packet
    assert b"webmail.example" in hello.payload
    for towards, numbers in (("client", 1), ("server", 1 + len(hello.payload))):
        [reset] = encrypted.seen_forged(towards)
        assert (reset.flags, encrypted.relative(reset.packet)[0]) == ("R", numbers)
    everything = (Path(run.directory) / "captures" / "box-inside.pcapng").read_bytes()
    assert everything.count(secret) == len(FAMILIES)
