"""Events and captures put together: an honest box has no disagreement, and every kind of lie is found out."""

from __future__ import annotations

from typing import Any

import pytest

from middlebox.events import Trigger, connection_redirected, packet_rewritten
from middlebox.flow import Direction
from middlebox.packet import decode
from scenarios.explanation import Disagreement, explain, without_cut_off
from scenarios.journeys import Journey, World, collect
from scenarios.report.ladder import ladder
from tests.unit.staged import BEGIN_NS, PLACES, Stage, handshake, is_inside, starttls_block


def journeys_of(stage: Stage) -> tuple[list[Journey], list[Disagreement]]:
    journeys = collect(stage.sorted(), stage.world)
    return journeys, explain(journeys, stage.events)


def without(stage: Stage, kind: str) -> list[dict[str, Any]]:
    return [event for event in stage.events if event["event"] != kind]


def test_explanation_forged_packet_that_no_event_tells_of_is_a_disagreement() -> None:
    """A box that forges in secret is found out."""
    stage = starttls_block()
    stage.events = without(stage, "packet_forged")
    _, disagreements = journeys_of(stage)
    assert len(disagreements) == 2
    assert "came from nowhere, and is in no event" in disagreements[0].what


def test_explanation_event_without_its_packet_is_a_disagreement() -> None:
    """A box that boasts is found out."""
    stage = starttls_block()
    for place in ("box-inside", "sim1"):
        stage.captures[place] = [c for c in stage.captures[place] if not c.packet.flags & 4]
    _, disagreements = journeys_of(stage)
    assert [d.what for d in disagreements] == ["forged towards client by the events, on no wire"]


def test_explanation_forged_packet_that_never_arrives_is_a_disagreement() -> None:
    """What left the box must reach the end."""
    stage = starttls_block()
    stage.captures["sim1"] = [c for c in stage.captures["sim1"] if not c.packet.flags & 4]
    _, disagreements = journeys_of(stage)
    assert [d.what for d in disagreements] == ["forged, left the box at box-inside frame 9, never arrived"]


@pytest.mark.parametrize("with_event", [True, False])
def test_explanation_dropped_packet_is_explained_by_its_event_only(*, with_event: bool) -> None:
    """A packet that went in and never came out was dropped, if the events say so."""
    stage = Stage()
    handshake(stage)
    data = stage.send("client", "PA", b"forbidden", until="box-inside")
    if with_event:
        stage.drop("client", data)
    journeys, disagreements = journeys_of(stage)
    (vanished,) = [journey for journey in journeys if journey.ended_at == 1]
    assert (vanished.dropped is not None) is with_event
    assert bool(disagreements) is not with_event


def test_explanation_flow_dropped_by_the_kernel_needs_one_event() -> None:
    """After the first packet of a flow that is dropped whole, the kernel drops the rest without a word."""
    stage = Stage()
    first = stage.send("client", "S", until="box-inside")
    stage.drop("client", first)
    stage.send("client", "S", until="box-inside")
    journeys, disagreements = journeys_of(stage)
    assert [journey.dropped is not None for journey in journeys] == [True, True]
    assert disagreements == []


def test_explanation_dropped_event_for_a_packet_that_passed_is_a_disagreement() -> None:
    """A box that says it dropped what it let through is found out."""
    stage = Stage()
    stage.drop("client", stage.send("client", "S"))
    _, disagreements = journeys_of(stage)
    assert [d.what for d in disagreements] == ["dropped by the events, but it passed or was never there"]


def test_explanation_packet_sent_by_nobody_is_a_disagreement() -> None:
    """A packet that comes into the box and that its host never sent."""
    stage = Stage()
    stage.travel(stage.packet("client", "S"), PLACES[1:])
    _, disagreements = journeys_of(stage)
    assert [d.what for d in disagreements] == ["first seen at box-inside frame 1, sent by nobody"]


def rewrite(stage: Stage, old: bytes, new: bytes) -> None:
    """The client's packet with `old` leaves the box with `new` instead, with its event."""
    before = stage.packet("client", "PA", old)
    after = stage.packet("client", "PA", new, ip_id=stage.ip_id)
    stage.travel(before, PLACES[:2])
    stage.travel(after, PLACES[2:], at_ms=stage.time_ms + 15.2)
    original = decode(before)
    assert original is not None
    event = packet_rewritten(
        BEGIN_NS, stage.flow, rule="strip", profile="p", direction=Direction.CLIENT_TO_SERVER,
        packet=Trigger.of(original), rewritten=after,
    )  # fmt: skip
    stage.events.append(event.as_json())
    stage.time_ms += 40


def test_explanation_rewritten_packet_is_one_journey() -> None:
    """What went in and what came out are two halves of one packet, with its event."""
    stage = Stage()
    handshake(stage)
    rewrite(stage, b"STARTTLS\r\n", b"XXXXXXXX\r\n")
    journeys, disagreements = journeys_of(stage)
    assert disagreements == []
    (changed,) = [journey for journey in journeys if journey.rewritten]
    assert changed.leaves_as is not None
    assert (changed.packet.payload, changed.leaves_as.payload) == (b"STARTTLS\r\n", b"XXXXXXXX\r\n")
    assert list(changed.seen) == list(PLACES)
    row = ladder(journeys, stage.ends)[-1]
    assert (row.rewritten, row.text, row.numbers, row.complete) == ("strip", "STARTTLS", "XXXXXXXX", True)


def test_explanation_packets_after_a_change_of_length_are_followed_by_their_content() -> None:
    """Sequence numbers are translated from then on; no event tells of each such packet."""
    stage = Stage()
    handshake(stage)
    rewrite(stage, b"STARTTLS\r\n", b"X\r\n")
    stage.sent["client"] += 10
    for payload in (b"QUIT\r\n", b"QUIT\r\n"):
        before = stage.packet("client", "PA", payload)
        after = stage.packet(
            "client", "PA", payload, ip_id=stage.ip_id, seq=stage.isn["client"] + stage.sent["client"] - 7
        )
        stage.travel(before, PLACES[:2])
        stage.travel(after, PLACES[2:], at_ms=stage.time_ms + 15.2)
        stage.time_ms += 40
    journeys, disagreements = journeys_of(stage)
    assert disagreements == []
    assert sum(journey.leaves_as is not None for journey in journeys) == 3


def test_explanation_rewritten_event_without_its_packets_is_a_disagreement() -> None:
    """A box that says it changed what passed unchanged is found out."""
    stage = Stage()
    handshake(stage)
    rewrite(stage, b"STARTTLS\r\n", b"XXXXXXXX\r\n")
    for place in PLACES[2:]:
        stage.captures[place] = [c for c in stage.captures[place] if not c.packet.payload]
    _, disagreements = journeys_of(stage)
    assert "rewritten by the events, but no such packet came out" in [d.what for d in disagreements]


def test_explanation_match_that_the_dice_let_pass_is_no_trigger() -> None:
    """A rule that matched and did nothing set nothing off."""
    stage = starttls_block()
    for event in stage.events:
        if event["event"] == "rule_matched":
            event["acted"] = False
    journeys, _ = journeys_of(stage)
    assert not any(journey.matched for journey in journeys)


def test_explanation_box_may_speak_for_itself() -> None:
    """A packet from the box's own address needs no event; the same packet from another address does."""
    stage = Stage(server="198.51.100.1")
    stage.travel(stage.packet("server", "R"), ("box-inside", "sim1"))
    journeys = collect(stage.sorted(), stage.world)
    assert explain(journeys, [], box=frozenset({Stage.pack("198.51.100.1")})) == []
    assert len(explain(journeys, [])) == 1


def test_explanation_packets_cut_off_at_either_end_of_the_captures_are_no_lies() -> None:
    """What was under way as captures ended, or belongs to a connection from before, may be held in part."""
    stage = Stage()
    handshake(stage)
    begin_ms = stage.time_ms
    stage.send("client", "PA", b"last words", until="box-inside")
    _, disagreements = journeys_of(stage)
    flow = {event["flow"]["community_id"] for event in starttls_block().events}
    end_ns = BEGIN_NS + round((begin_ms + 16) * 1e6)
    late = BEGIN_NS + 10**12
    assert len(disagreements) == 1
    assert without_cut_off(disagreements, ended_ns=end_ns, left_over=()) == []
    assert without_cut_off(disagreements, ended_ns=late, left_over=()) == disagreements
    assert without_cut_off(disagreements, ended_ns=late, left_over=flow) == []


def test_explanation_event_without_its_packet_is_never_excused() -> None:
    """What the box wrote down must be on the wire, whenever it was."""
    stage = starttls_block()
    for place in ("box-inside", "sim1"):
        stage.captures[place] = [c for c in stage.captures[place] if not c.packet.flags & 4]
    _, disagreements = journeys_of(stage)
    assert without_cut_off(disagreements, ended_ns=0, left_over=()) == disagreements


def test_explanation_forged_packet_that_may_get_lost_need_not_arrive() -> None:
    """Where links lose packets, or its TTL is too low, a forged packet that left the box is no lie."""
    stage = starttls_block()
    stage.captures["sim1"] = [c for c in stage.captures["sim1"] if not c.packet.flags & 4]
    journeys = collect(stage.sorted(), stage.world)
    assert explain(journeys, stage.events, may_get_lost=lambda journey: True) == []


def test_explanation_joins_the_two_sides_of_a_redirected_connection() -> None:
    """Each packet is one journey, seen as the client sees the connection; without the event it is a disagreement."""
    inside, outside = Stage(), Stage(server="203.0.113.26")
    for stage in (inside, outside):
        handshake(stage)
        stage.send("client", "PA", b"EHLO client\r\n")
        stage.send("server", "PA", b"250 ok\r\n")
    captures = {place: inside.captures[place] for place in ("sim1", "box-inside")}
    captures |= {"box-outside": outside.captures["box-outside"], "provider": outside.captures["mail"]}
    world = World(
        {
            Stage.pack(inside.client): "sim1",
            Stage.pack(inside.server): "mail",
            Stage.pack(outside.server): "provider",
        },
        is_inside,
    )
    event = connection_redirected(
        BEGIN_NS, inside.flow, rule="r", profile="p", to=Stage.pack(outside.server), to_port=587
    ).as_json()
    journeys = collect(captures, world)
    assert explain(journeys, [event]) == []
    assert len(journeys) == 5
    assert all(j.redirected and j.arrived and len(j.seen) == 4 for j in journeys)
    assert {frozenset((j.packet.src, j.packet.dst)) for j in journeys} == {
        frozenset((Stage.pack(inside.client), Stage.pack(inside.server)))
    }
    assert explain(collect(captures, world), []) != []
