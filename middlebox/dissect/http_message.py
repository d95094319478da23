"""What a box must know of an HTTP/1 message (RFC 9112): where it may begin, its lines, how long its body is.

Only functions of bytes that are there; `http.HttpDissector` keeps the state of a connection.

`HttpReading` is how well a given box reads HTTP; each of its knobs is an evasion that works against a real one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from middlebox.flow import Direction

# RFC 9110 and RFC 5789, WebDAV (RFC 4918, RFC 3253), and what Wireshark 4.0 takes for a request besides.
METHODS = frozenset(
    b"GET PUT POST HEAD DELETE CONNECT OPTIONS TRACE PATCH COPY LOCK MOVE POLL BCOPY BMOVE MKCOL LABEL MERGE SEARCH "
    b"UNLOCK REPORT UPDATE BDELETE CHECKIN PROPFIND CHECKOUT CCM_POST PROPPATCH BPROPFIND BPROPPATCH UNCHECKOUT "
    b"MKACTIVITY MKWORKSPACE RPC_CONNECT RPC_IN_DATA RPC_OUT_DATA VERSION-CONTROL BASELINE-CONTROL".split()
)
_METHOD_STARTS = frozenset(method[:size] for method in METHODS for size in range(1, len(method) + 1))
_LONGEST_METHOD = max(map(len, METHODS))
_STATUS_START = b"HTTP/"
_STATUS_LINE = re.compile(rb"(HTTP/[0-9.]*) +([0-9]{3})(?: +(.*))?$", re.DOTALL)
SIZE_DIGITS = 16  # a chunk or a body of 2**64 bytes and more is not one


@dataclass(frozen=True)
class HttpReading:
    """How a box reads HTTP.

    first_request_only: later ones of a connection are not looked at (Khattak13: only the first pipelined request).
    uri_bytes: how much of the request target is scanned, None for all (Khattak13: 2,048).
    header_name_limit: a field name of so many bytes ends the reading of a header (Harrity22, Rambert: 64, before Host).
    crlf_only: a bare LF ends no line (GFWREV: one of the HTTP modules of 2010).
    """

    first_request_only: bool = False
    uri_bytes: int | None = None
    header_name_limit: int | None = None
    crlf_only: bool = False


READS_ALL = HttpReading()


class Framing:
    """What a header says about the body behind it (RFC 9112 section 6.3)."""

    __slots__ = ("chunked", "host", "length")

    def __init__(self) -> None:
        self.chunked = False
        self.length: int | None = None
        self.host = b""

    def note(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            self.host = self.host or value
        elif name == b"transfer-encoding":
            self.chunked = value.lower().endswith(b"chunked")
        elif name == b"content-length" and value.isdigit() and len(value) <= SIZE_DIGITS:
            self.length = int(value)


def request_line(line: bytes) -> tuple[bytes, bytes, bytes]:
    """Method, target and version of a request line; the version is empty in HTTP/0.9."""
    method, _, rest = line.rstrip(b"\r\n").partition(b" ")
    target, _, version = rest.rpartition(b" ")
    if not version.startswith(_STATUS_START):
        target, version = rest, b""
    return method, target.strip(b" "), version


def status_line(line: bytes) -> tuple[bytes, int, bytes] | None:
    """Version, code and phrase of a status line; None if it is none."""
    found = _STATUS_LINE.match(line.rstrip(b"\r\n"))
    return None if found is None else (found[1], int(found[2]), found[3] or b"")


def may_start(direction: Direction, data: bytes, position: int) -> bool:
    """Whether a message of this direction can begin here, as far as its first word is there."""
    if direction is Direction.SERVER_TO_CLIENT:
        start = data[position : position + len(_STATUS_START)]
        return _STATUS_START.startswith(start)
    word, space, _ = data[position : position + _LONGEST_METHOD + 1].partition(b" ")
    return word in METHODS if space else word in _METHOD_STARTS


def lines_of(header: bytes, *, crlf_only: bool) -> list[bytes]:
    """The lines of a header, each with its line end, without the empty one at the end."""
    end = b"\r\n" if crlf_only else b"\n"
    return [line + end for line in header.split(end) if line.strip()] or [b""]


def unfolded(lines: list[bytes]) -> list[bytes]:
    """Lines that begin with white space go on with the one before (RFC 9112 section 5.2)."""
    joined: list[bytes] = []
    for line in lines:
        if line[:1] in b" \t" and joined:
            joined[-1] += line
        else:
            joined.append(line)
    return joined


def full_uri(method: bytes, target: bytes, host: bytes) -> bytes:
    if method == b"CONNECT" or b"://" in target.partition(b"?")[0]:
        return target
    return b"http://" + host + target


def is_hex(text: bytes) -> bool:
    return all(byte in b"0123456789abcdefABCDEF" for byte in text)
