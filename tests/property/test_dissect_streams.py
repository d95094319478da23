"""Any bytes, cut anywhere: the same fields in the same order, no exception, and nothing comes back to life."""

from __future__ import annotations

import pytest
from hypothesis import example, given, strategies as st

from middlebox.dissect import ALL_FIELDS, DEFAULT_PORTS, Dissector, Fields, dissector_for, field_group
from middlebox.dissect.base import Alive
from middlebox.flow import Direction
from middlebox.packet import PROTOCOL_TCP
from tests.unit.dissect_kit import EVERYTHING, capture_names, packets_of

PORTS = st.sampled_from([25, 53, 80, 110, 143, 443, 587, 1080, 1723])
# One a packet, not one an occurrence: their number depends on how the stream is cut.
PER_PACKET = EVERYTHING | {"imap.isrequest"}

Stream = list[tuple[Direction, bytes]]

WORDS = st.sampled_from(
    [
        *(
            b"STARTTLS\r\n",
            b"a1 STARTTLS\r\n",
            b"STLS\r\n",
            b"DATA\r\n",
            b".\r\n",
            b"BDAT 7\r\n",
            b"AUTH LOGIN\r\n",
        ),
        *(
            b"220 go\r\n",
            b"354 go\r\n",
            b"334 x\r\n",
            b"250-a\r\n",
            b"250 b\r\n",
            b"a1 OK\r\n",
            b"+OK\r\n",
            b"+ \r\n",
        ),
        *(
            b"a1 APPEND x {5}\r\n",
            b"* 1 FETCH {3}\r\n",
            b"RETR 1\r\n",
            b"LIST\r\n",
            b"\r",
            b"\n",
            b"\r\n",
            b"250",
        ),
        *(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x16\x03\x03\x00\x04", b"\x02\x00\x00\x26\x03\x03"),
        *(
            b"SSH-2.0-x\r\n",
            b"\x13BitTorrent protocol" + bytes(48),
            b"\x00\x10\x00\x01\x1a\x2b\x3c\x4d\x00\x05" + bytes(6),
            b"\x00\x0e\x38sessions" + bytes(5),
            b"\x00\x05\x48abcd",
            b"\x05\x01\x00",
            b"\x05\x01\x00\x03\x03abc\x00\x50",
            b"\x04\x01\x00\x50\x00\x00\x00\x01u\x00n\x00",
            b"\x00\x11" + b"id\x01\x00\x00\x01" + bytes(6) + b"\x00\x00\x01\x00\x01",
        ),
        *(
            b"GET / HTTP/1.1\r\n",
            b"Host: web.example\r\n\r\n",
            b"CONNECT a:443 HTTP/1.1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\n",
            b"HTTP/1.1 101 \r\n\r\n",
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n",
            b"5\r\nabcde\r\n",
            b"0\r\n\r\n",
        ),
        *(b"\x14\x03\x03\x00\x01\x01", b"\x17\x03\x03\x00\x02ab", b"\x15\x03\x03\x00\x02\x02\x28", b"\x16"),
    ]
)
PIECES = st.lists(
    st.tuples(st.sampled_from(Direction), st.one_of(WORDS, st.binary(max_size=40))), max_size=25
)


def tcp_flows() -> list[tuple[int, Stream]]:
    """The connections of all captures: server port and payloads in order."""
    flows: dict[tuple[str, int], tuple[int, Stream]] = {}
    for capture in capture_names():
        for packet in packets_of(capture):
            if packet.payload and packet.protocol == PROTOCOL_TCP:
                _, stream = flows.setdefault((capture, packet.flow), (packet.server_port, []))
                stream.append((packet.direction, packet.payload))
    return list(flows.values())


FLOWS = tcp_flows()


def new(port: int, *, join_records: bool = True) -> Dissector:
    dissector = dissector_for(port, EVERYTHING, DEFAULT_PORTS, join_records=join_records)
    assert dissector is not None
    return dissector


def collected(port: int, stream: Stream) -> tuple[dict[Direction, Fields], Alive]:
    """All fields of a stream by direction, and what is alive at its end."""
    dissector = new(port)
    fields: dict[Direction, Fields] = {direction: {} for direction in Direction}
    for direction, data in stream:
        dissector.feed(direction, data, fields[direction])
    for seen in fields.values():
        for name in PER_PACKET & seen.keys():
            seen[name] = sorted(set(seen[name]))
    return fields, dissector.alive


def recut(stream: Stream, sizes: list[int]) -> Stream:
    """The same bytes in the same order, each direction's runs joined and cut anew."""
    joined: list[tuple[Direction, bytearray]] = []
    for direction, data in stream:
        if joined and joined[-1][0] == direction:
            joined[-1][1].extend(data)
        else:
            joined.append((direction, bytearray(data)))
    cut: Stream = []
    number = 0
    for direction, run in joined:
        position = 0
        while position < len(run):
            size = sizes[number % len(sizes)]
            number += 1
            cut.append((direction, bytes(run[position : position + size])))
            position += size
    return cut


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100_000])
def test_real_session_cut_anew_has_the_same_fields(size: int) -> None:
    """Every captured session gives the same fields byte by byte as in its own segments, and ends in the same state."""
    for port, stream in FLOWS:
        assert collected(port, recut(stream, [size])) == collected(port, stream)


@given(PORTS, PIECES, st.lists(st.integers(1, 30), min_size=1, max_size=10))
@example(25, [(Direction.CLIENT_TO_SERVER, b"\x16\x03\x03\x00\x04STARTTLS\r\n")], [1])
def test_any_stream_cut_anew_has_the_same_fields(port: int, stream: Stream, sizes: list[int]) -> None:
    """Fields and end state depend on the bytes and their order, not on how they are cut."""
    assert collected(port, recut(stream, sizes)) == collected(port, recut(stream, [1_000_000]))


@given(PORTS, PIECES, st.sets(st.integers(0, 24)), st.booleans())
def test_any_bytes_raise_nothing_and_alive_only_shrinks(
    port: int, stream: Stream, losses: set[int], join_records: bool
) -> None:
    """Whatever comes, also with losses: no exception, no dead group comes back, and no field of one does."""
    dissector = new(port, join_records=join_records)
    for number, (direction, data) in enumerate(stream):
        if number in losses:
            dissector.restart(direction)
        before = dissector.alive
        fields: Fields = {}
        dissector.feed(direction, data, fields)
        after = dissector.alive
        assert all(now <= then for now, then in zip(after, before, strict=True))
        assert after is before or after != before
        for name in fields:
            assert field_group(name) in before[direction]
            assert ALL_FIELDS[name].sent_by in (None, direction)


@given(PORTS, st.sampled_from(Direction), st.binary(min_size=1, max_size=200))
def test_mutated_hello_raises_nothing(port: int, direction: Direction, noise: bytes) -> None:
    """A real hello with a stretch of noise in it, at any place that the noise chooses, is survived."""
    hello = next(data for server, stream in FLOWS if server == 443 for _, data in stream)
    at = noise[0] * 2 % len(hello)
    dissector = new(port)
    fields: Fields = {}
    dissector.feed(direction, hello[:at] + noise + hello[at + len(noise) :], fields)
    dissector.feed(direction, noise, fields)
    assert set(fields) <= set(ALL_FIELDS)
