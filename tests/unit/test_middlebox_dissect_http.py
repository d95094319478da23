"""HTTP/1: headers over segments, bodies that are no messages, and the ways in which a real box reads less."""

from __future__ import annotations

import pytest

from middlebox.dissect import Dissector, Fields
from middlebox.dissect.http import MAX_HEADER_BYTES, MAX_PENDING_REQUESTS, HttpDissector, http_plan
from middlebox.dissect.http_message import READS_ALL, HttpReading
from middlebox.dissect.tls import tls_plan
from middlebox.flow import Direction
from tests.unit.dissect_talk import DEAD, C, S, feed
from tests.unit.tls_bytes import client_hello, record

SNI = "tls.handshake.extensions_server_name"
GET = b"GET /a HTTP/1.1\r\nHost: web.example\r\n\r\n"


def http(*fields: str, reading: HttpReading = READS_ALL, tls: bool = False) -> HttpDissector:
    plan = http_plan(frozenset(fields) if fields else None, reading)
    return HttpDissector(plan, tls_plan(None) if tls else None)


def uris(dissector: Dissector, data: bytes) -> list[object]:
    return list(feed(dissector, C, data).get("http.request.uri", []))


def test_request_over_segments_appears_with_the_last() -> None:
    """Nothing is said of a request before its empty line; then all its fields come together."""
    dissector = http()
    assert not feed(dissector, C, b"GE", b"T /a HTTP/1.1\r\nHo", b"st: web.example\r\n", b"\r")
    fields = feed(dissector, C, b"\n")
    assert fields["http.request.method"] == ["GET"]
    assert fields["http.request.uri"] == ["/a"]
    assert fields["http.request.full_uri"] == ["http://web.example/a"]
    assert fields["http.host"] == ["web.example"]
    assert fields["http.request.line"] == ["Host: web.example\r\n"]


def test_pipelined_requests_are_all_seen() -> None:
    """Three requests in a segment have three targets."""
    assert uris(http(), GET + GET.replace(b"/a", b"/b") + b"\r\n" + GET.replace(b"/a", b"/c")) == [
        "/a",
        "/b",
        "/c",
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"POST /p HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(GET) + GET,
        b"POST /p HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x;x=y\r\n" % len(GET)
        + GET
        + b"\r\n0\r\nA: b\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
def test_request_in_a_body_is_not_one(body: bytes) -> None:
    """What stands in a body is never a request, and the one behind the body is."""
    assert uris(http(), body + GET.replace(b"/a", b"/next")) == ["/p", "/next"]


def test_folded_header_is_one_line() -> None:
    """A line that begins with white space goes on with the one before."""
    fields = feed(http(), C, b"GET / HTTP/1.1\r\nUser-Agent: one\r\n  two\r\nHost: h\r\n\r\n")
    assert fields["http.user_agent"] == ["one\r\n  two"]
    assert fields["http.host"] == ["h"]


def test_bare_line_feeds_are_line_ends() -> None:
    """A request whose lines end in LF alone is read."""
    assert feed(http(), C, GET.replace(b"\r", b""))["http.host"] == ["web.example"]


def test_box_that_wants_crlf_does_not_see_bare_line_feeds() -> None:
    """With crlf_only a request with bare LF has no fields (GFWREV: an HTTP module of 2010)."""
    reading = HttpReading(crlf_only=True)
    assert not feed(http(reading=reading), C, GET.replace(b"\r", b""))
    assert feed(http(reading=reading), C, GET)["http.host"] == ["web.example"]


def test_box_that_reads_the_first_request_only_misses_the_second() -> None:
    """With first_request_only the rest of the connection is let go of (Khattak13)."""
    dissector = http(reading=HttpReading(first_request_only=True))
    assert uris(dissector, GET + GET.replace(b"/a", b"/b")) == ["/a"]
    assert not dissector.alive[C]


def test_uri_is_scanned_to_its_limit() -> None:
    """With uri_bytes what stands further behind in the target is not seen (Khattak13: 2,048 bytes)."""
    request = b"GET /" + b"x" * 3000 + b"ultrasurf HTTP/1.1\r\nHost: h\r\n\r\n"
    (uri,) = uris(http(reading=HttpReading(uri_bytes=2048)), request)
    assert uri == "/" + "x" * 2047
    assert str(uris(http(), request)[0]).endswith("ultrasurf")


@pytest.mark.parametrize(("size", "seen"), [(63, True), (64, False)])
def test_long_header_name_hides_the_host(size: int, seen: bool) -> None:
    """With header_name_limit a name of that length before Host ends the reading (Harrity22, Rambert: 64)."""
    request = b"GET / HTTP/1.1\r\n" + b"x" * size + b": y\r\nHost: web.example\r\n\r\n"
    fields = feed(http(reading=HttpReading(header_name_limit=64)), C, request)
    assert ("http.host" in fields) is seen
    assert fields["http.request.uri"] == ["/"]


def test_response_is_matched_to_its_request() -> None:
    """A HEAD is answered without a body, whatever Content-Length says; 100 Continue answers nothing."""
    dissector = http()
    feed(dissector, C, b"HEAD / HTTP/1.1\r\n\r\n" + GET)
    answers = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
        b"HTTP/1.1 302 Found\r\nLocation: http://x.example/\r\nContent-Length: 0\r\n\r\n"
    )
    fields = feed(dissector, S, answers)
    assert fields["http.response.code"] == [100, 200, 302]
    assert fields["http.response.phrase"] == ["Continue", "OK", "Found"]
    assert fields["http.location"] == ["http://x.example/"]


def test_body_until_close_hides_what_looks_like_a_response() -> None:
    """A response without length ends with the connection: nothing more can come from the server."""
    dissector = http()
    feed(dissector, C, GET)
    fields = feed(dissector, S, b"HTTP/1.0 200 OK\r\n\r\nHTTP/1.1 404 Not Found\r\n\r\n")
    assert fields["http.response.code"] == [200]
    assert not dissector.alive[S]
    assert dissector.alive[C]


def test_tls_behind_connect_is_read() -> None:
    """The name in the ClientHello is seen in a tunnel through a proxy, also when the proxy was asked twice."""
    dissector = http(tls=True)
    connect = b"CONNECT web.example:443 HTTP/1.1\r\nHost: web.example:443\r\n\r\n"
    assert feed(dissector, C, connect)["http.request.full_uri"] == ["web.example:443"]
    feed(dissector, S, b"HTTP/1.1 407 no\r\nContent-Length: 2\r\n\r\nno")
    assert feed(dissector, C, connect)["http.request.method"] == ["CONNECT"]
    feed(dissector, S, b"HTTP/1.1 200 yes\r\n\r\n")
    assert feed(dissector, C, record(22, client_hello("web.example")))[SNI] == ["web.example"]
    assert "http" not in dissector.alive[C] | dissector.alive[S]


def test_plain_request_rules_tls_out() -> None:
    """After a request that is no CONNECT nobody waits for TLS any more."""
    dissector = http(tls=True)
    assert "tls.handshake" in dissector.alive[S]
    feed(dissector, C, GET)
    assert dissector.alive == ({"http"}, {"http"})


@pytest.mark.parametrize(
    ("direction", "data"),
    [
        (C, b"\x16\x03\x01"),
        (C, b"SSH-2.0-x\r\n"),
        (C, b"get / HTTP/1.1\r\n"),
        (S, b"220 mail\r\n"),
        (C, b"GETS /"),
    ],
)
def test_other_first_bytes_refute_http(direction: Direction, data: bytes) -> None:
    """What does not begin with a method, or with HTTP/ from a server, is no HTTP in either direction."""
    dissector = http()
    assert not feed(dissector, direction, data)
    assert dissector.alive == DEAD


def test_upgrade_ends_http_in_both_directions() -> None:
    """Behind 101 another protocol is spoken."""
    dissector = http()
    feed(dissector, C, GET)
    assert feed(dissector, S, b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\nxyz")["http.upgrade"] == [
        "websocket"
    ]
    assert dissector.alive == DEAD


def test_endless_header_is_read_to_its_limit_and_given_up() -> None:
    """Of a header without end the first MAX_HEADER_BYTES are reported once, and nothing is kept."""
    dissector = http()
    fields: Fields = {}
    dissector.feed(C, b"GET /a HTTP/1.1\r\nHost: web.example\r\n", fields)
    for _ in range(MAX_HEADER_BYTES // 100):
        dissector.feed(C, b"X: " + b"y" * 98 + b"\r\n", fields)
    assert fields["http.host"] == ["web.example"]
    assert not dissector.alive[C]


def test_unanswered_requests_are_forgotten_beyond_their_limit() -> None:
    """A client that asks without end does not make the box remember without end."""
    dissector = http()
    feed(dissector, C, GET * (3 * MAX_PENDING_REQUESTS))
    answers = b"HTTP/1.1 204 x\r\n\r\n" * (3 * MAX_PENDING_REQUESTS)
    assert len(feed(dissector, S, answers)["http.response.code"]) == 3 * MAX_PENDING_REQUESTS


@pytest.mark.parametrize(
    ("field", "couples"), [("http.host", False), ("http.response.code", True), ("http", True)]
)
def test_only_responses_need_both_directions(field: str, couples: bool) -> None:
    """Who reads requests only may let go of the server's direction; a response means what its request says."""
    assert http(field).couples_directions is couples


def test_lost_bytes_end_the_half_read_header() -> None:
    """After a gap the next segment that starts with a method is a request again."""
    dissector = http()
    feed(dissector, C, GET, b"GET /lost HTTP/1.1\r\n")
    dissector.restart(C)
    assert uris(dissector, GET) == ["/a"]
