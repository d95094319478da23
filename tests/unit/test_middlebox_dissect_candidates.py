"""Several protocols that a flow may still speak, until one is left."""

from __future__ import annotations

import pytest

from middlebox.dissect import DEFAULT_PORTS, Dissector, Fields, dissector_for
from middlebox.dissect.candidates import Candidates, one_of
from tests.unit.dissect_talk import C, S
from tests.unit.tls_bytes import client_hello, record

FOUND_BY_CONTENT = frozenset({"tls", "http", "ssh", "openvpn", "pptp", "bittorrent", "socks"})

FIRST_BYTES = {
    "tls": record(22, client_hello()),
    "http": b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "openvpn": b"\x00\x0e\x38" + b"sessions" + bytes(5),
    "pptp": b"\x00\x10\x00\x01\x1a\x2b\x3c\x4d\x00\x05" + bytes(6),
    "bittorrent": b"\x13BitTorrent protocol" + bytes(48),
    "socks": b"\x05\x01\x00\x05\x01\x00\x01" + bytes(6),
    "dns": b"\x00\x1d\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x03web\x07example\x00\x00\x01\x00\x01",
}


def any_of(port: int = 4711) -> Dissector:
    dissector = dissector_for(port, FOUND_BY_CONTENT | {"dns"}, DEFAULT_PORTS)
    assert dissector is not None
    return dissector


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("protocol", FIRST_BYTES)
def test_first_bytes_decide_which_protocol_it_is(protocol: str, size: int) -> None:
    """The one that is spoken is found, and no field of another is ever reported; DNS is looked for on port 53."""
    dissector = any_of(53 if protocol == "dns" else 4711)
    fields: Fields = {}
    data = FIRST_BYTES[protocol]
    for at in range(0, len(data), size):
        dissector.feed(C, data[at : at + size], fields)
    assert protocol in fields
    assert {name.partition(".")[0] for name in fields} == {protocol}
    inside = {"tls"} if protocol == "socks" else set[str]()
    assert {group.partition(".")[0] for group in dissector.alive[C] | dissector.alive[S]} <= {
        protocol
    } | inside


@pytest.mark.parametrize("protocol", FIRST_BYTES)
def test_what_remains_finds_the_same(protocol: str) -> None:
    """When one is left it can be fed in place of all: the rest of the connection is read by it alone."""
    port = 53 if protocol == "dns" else 4711
    whole, first = any_of(port), any_of(port)
    data, cut = FIRST_BYTES[protocol], 12
    found: Fields = {}
    whole.feed(C, data[:cut], found)
    first.feed(C, data[:cut], {})
    alone = first.remaining
    assert not isinstance(alone, Candidates)
    again: Fields = dict(found)
    whole.feed(C, data[cut:] + data, found)
    alone.feed(C, data[cut:] + data, again)
    assert found == again
    assert protocol in found
    assert whole.alive == alone.alive


def test_unknown_bytes_leave_nothing_alive() -> None:
    """A stream that is none of them is let go with its first bytes."""
    dissector = any_of()
    fields: Fields = {}
    dissector.feed(S, b"\xfe\xed hello", fields)
    assert not fields
    assert dissector.alive == (frozenset(), frozenset())
    assert not dissector.couples_directions


def test_server_that_speaks_first_decides_too() -> None:
    """The banner of an SSH server refutes all the others before the client said anything."""
    dissector = any_of()
    dissector.feed(S, FIRST_BYTES["ssh"], {})
    assert dissector.alive == ({"ssh"}, {"ssh"})


def test_alive_stays_the_same_object_while_nothing_changes() -> None:
    """The engine compares it with `is`."""
    dissector = any_of()
    dissector.feed(C, FIRST_BYTES["ssh"], {})
    alive = dissector.alive
    dissector.feed(C, b"more", {})
    dissector.restart(C)
    dissector.feed(C, b"more", {})
    assert dissector.alive is alive


def test_single_candidate_needs_no_container() -> None:
    """What is wanted alone costs nothing extra; what is not wanted is not there."""
    assert one_of([]) is None
    only = dissector_for(80, frozenset({"ssh"}), DEFAULT_PORTS)
    assert only is not None
    assert not isinstance(only, Candidates)
    assert isinstance(any_of(), Candidates)
