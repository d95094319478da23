"""The fields of HTTP, and which header each of them is.

Names are Wireshark's; header names are compared without regard to case (RFC 9110 section 5.1).
"""

from __future__ import annotations

from collections.abc import Mapping

from middlebox.dissect.base import FieldSpec, FieldType
from middlebox.flow import Direction

_CLIENT, _SERVER = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT


def _text(sent_by: Direction | None, description: str) -> FieldSpec:
    return FieldSpec(FieldType.STRING, sent_by, description)


# header name -> field
HEADER_FIELDS: Mapping[bytes, str] = {
    name.replace("_", "-").encode(): f"http.{name}"
    for name in (
        "host", "user_agent", "referer", "cookie", "authorization", "accept_language", "x_forwarded_for",
        "proxy_authorization", "connection", "upgrade", "content_type", "transfer_encoding", "location", "server",
        "set_cookie",
    )
} | {b"content-length": "http.content_length_header"}  # fmt: skip

HTTP_FIELDS: Mapping[str, FieldSpec] = {
    "http": FieldSpec(FieldType.BOOL, None, "the packet completes an HTTP header or carries a body"),
    "http.request": FieldSpec(FieldType.BOOL, _CLIENT, "a request whose header is complete"),
    "http.request.method": _text(_CLIENT, "GET, POST, CONNECT, ..."),
    "http.request.uri": _text(_CLIENT, "request target as sent: path and query, or what a proxy is given"),
    "http.request.full_uri": _text(_CLIENT, "http:// with Host and target; only if there is a Host"),
    "http.request.version": _text(_CLIENT, "HTTP/1.1"),
    "http.request.line": _text(_CLIENT, "a header line of a request with its line end"),
    "http.host": _text(_CLIENT, "Host"),
    "http.user_agent": _text(_CLIENT, "User-Agent"),
    "http.referer": _text(_CLIENT, "Referer"),
    "http.cookie": _text(_CLIENT, "Cookie"),
    "http.authorization": _text(_CLIENT, "Authorization"),
    "http.accept_language": _text(_CLIENT, "Accept-Language"),
    "http.x_forwarded_for": _text(_CLIENT, "X-Forwarded-For"),
    "http.proxy_authorization": _text(_CLIENT, "Proxy-Authorization"),
    "http.response": FieldSpec(FieldType.BOOL, _SERVER, "a response whose header is complete"),
    "http.response.version": _text(_SERVER, "HTTP/1.1"),
    "http.response.code": FieldSpec(FieldType.UINT, _SERVER, "status code"),
    "http.response.phrase": _text(_SERVER, "what follows the status code: Not Found"),
    "http.response.line": _text(_SERVER, "a header line of a response with its line end"),
    "http.location": _text(_SERVER, "Location"),
    "http.server": _text(_SERVER, "Server"),
    "http.set_cookie": _text(_SERVER, "Set-Cookie"),
    "http.content_type": _text(None, "Content-Type"),
    "http.content_length_header": _text(None, "Content-Length as written"),
    "http.transfer_encoding": _text(None, "Transfer-Encoding"),
    "http.connection": _text(None, "Connection"),
    "http.upgrade": _text(None, "Upgrade"),
}
