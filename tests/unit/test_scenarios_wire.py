"""What a capture shows of a connection: each phenomenon counted on one played by hand, and nothing else counted."""

from __future__ import annotations

from typing import Any

import pytest

from scenarios.journeys import collect
from scenarios.model import Count, ExpectWire
from scenarios.vocabulary import PHENOMENA
from scenarios.wire import count, staged
from tests.unit.staged import PLACES, Stage, handshake


def shown(played: Stage, what: str, sender: str, *, place: str = "sim1", **more: Any) -> int:
    """How often it is in the capture of a place."""
    expect = ExpectWire(what, sender, Count(0, None, ""), **more)
    captures = played.sorted()
    address = played.pack(played.client if sender == "client" else played.server)
    return count(expect, captures[place], address, collect(captures, played.world))


def conversation() -> Stage:
    """Handshake, a line each way, both ends close."""
    stage = Stage()
    handshake(stage)
    stage.send("client", "PA", b"GET / HTTP/1.1\r\n")
    stage.send("server", "PA", b"HTTP/1.1 200 OK\r\nServer: x\r\n")
    stage.send("client", "FA")
    stage.send("server", "FA")
    stage.send("client", "A")
    return stage


def test_wire_counts_segments_by_kind_and_sender() -> None:
    """Each kind of segment is counted for the end that sent it; a quiet connection shows nothing odd."""
    kinds = {
        "syn": (1, 0), "syn-ack": (0, 1), "fin": (1, 1), "rst": (0, 0), "data": (1, 1), "retransmission": (0, 0),
        "keepalive": (0, 0), "zero-window": (0, 0), "lost": (0, 0), "overtaken": (0, 0),
    }  # fmt: skip
    assert {*kinds, "pause", "line"} == set(PHENOMENA)
    for what, (client, server) in kinds.items():
        assert (shown(conversation(), what, "client"), shown(conversation(), what, "server")) == (
            client,
            server,
        ), what


def test_wire_stage_is_how_far_the_connection_had_come() -> None:
    """SYN and its answer, the last ACK of the handshake, data, and what comes after a FIN."""
    stages = [stage for stage, _ in staged(conversation().sorted()["sim1"])]
    assert stages == ["syn", "syn", "handshake", "handshake", "data", "data", "fin", "fin"]


@pytest.mark.parametrize("stage_of_reset", ["syn", "handshake", "data"])
def test_wire_reset_counts_at_its_stage_only(stage_of_reset: str) -> None:
    """A RST that answers the SYN is not one that answers data."""
    stage = Stage()
    if stage_of_reset == "syn":
        stage.send("client", "S")
    else:
        handshake(stage)
    if stage_of_reset == "data":
        stage.send("client", "PA", b"hello")
    stage.send("server", "RA")
    found = {name: shown(stage, "rst", "server", stage=name) for name in ("syn", "handshake", "data", "fin")}
    assert found == {name: int(name == stage_of_reset) for name in found}


def test_wire_retransmission_is_what_that_end_had_sent_before() -> None:
    """A SYN, data and a part of data sent again count; new data and a keepalive do not."""
    stage = Stage()
    stage.send("client", "S", wait_ms=1)
    stage.sent["client"] = 0
    stage.send("client", "S")
    stage.send("server", "SA")
    stage.send("client", "PA", b"abcdef")
    stage.sent["client"] = 1
    stage.send("client", "PA", b"abc")
    stage.sent["client"] = 1 + 6 - 1
    stage.send("client", "A", b"f")  # a keepalive of the kind that repeats a byte
    stage.sent["client"] = 1 + 6
    stage.send("client", "PA", b"new")
    assert shown(stage, "retransmission", "client") == 2
    assert shown(stage, "keepalive", "client") == 1


def test_wire_lost_is_sent_and_never_arrived() -> None:
    """A packet that ends on the way is lost, wherever; its retransmission is not."""
    stage = Stage()
    handshake(stage)
    stage.send("client", "PA", b"lost", until="sim1")
    stage.sent["client"] -= 4
    stage.send("client", "PA", b"lost")
    assert (shown(stage, "lost", "client"), shown(stage, "lost", "server")) == (1, 0)


def test_wire_overtaken_is_what_one_sent_later_came_before() -> None:
    """Of three packets the first comes last: one was overtaken."""
    stage = Stage()
    handshake(stage)
    first = stage.packet("client", "PA", b"1")
    begin_ms = stage.time_ms
    stage.travel(first, PLACES[:1], at_ms=begin_ms)
    stage.travel(first, PLACES[1:], at_ms=begin_ms + 30)
    stage.sent["client"] += 1
    stage.time_ms = begin_ms + 1
    stage.send("client", "PA", b"2", wait_ms=1)
    stage.send("client", "PA", b"3")
    assert shown(stage, "overtaken", "client") == 1


def test_wire_pause_is_measured_to_the_packet_before() -> None:
    """An answer after two seconds is a pause of a second and of two, not of three."""
    stage = Stage()
    handshake(stage)
    stage.send("client", "PA", b"?", wait_ms=2000)
    stage.send("server", "PA", b"!")
    assert [shown(stage, "pause", "server", at_least_ns=n * 10**9) for n in (1, 2, 3)] == [1, 1, 0]


def test_wire_line_begins_with_the_text_also_over_segments() -> None:
    """A line cut in two segments is one line; the words elsewhere in a line do not count."""
    stage = Stage()
    handshake(stage)
    stage.send("server", "PA", b"250-mail.example\r\n250-STAR")
    stage.send("server", "PA", b"TTLS\r\n250 not 250-STARTTLS\r\n")
    assert shown(stage, "line", "server", text="250-STARTTLS") == 1
    assert shown(stage, "line", "client", text="250-STARTTLS") == 0


def test_wire_zero_window_is_no_reset() -> None:
    """A SYN+ACK with a closed window counts, a RST, which always has one, does not."""
    stage = Stage()
    stage.send("client", "S")
    stage.send("server", "SA", window=0)
    stage.send("server", "R", window=0)
    assert shown(stage, "zero-window", "server") == 1
