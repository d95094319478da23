"""One packet, one journey: where each was seen, and whether the events say the same."""

from __future__ import annotations

from typing import Any

import pytest

from scenarios.journeys import Disagreement, Journey, collect, explain, is_afterwards
from tests.unit.staged import PLACES, Stage, handshake, starttls_block


def journeys_of(stage: Stage) -> tuple[list[Journey], list[Disagreement]]:
    journeys = collect(stage.sorted(), stage.world)
    return journeys, explain(journeys, stage.events)


def test_journeys_genuine_packets_are_seen_everywhere_in_order() -> None:
    """A handshake: three journeys, four places each, both directions."""
    stage = Stage()
    handshake(stage)
    journeys, disagreements = journeys_of(stage)
    assert [journey.places for journey in journeys] == [PLACES, PLACES[::-1], PLACES]
    assert all(set(journey.seen) == set(PLACES) for journey in journeys)
    assert disagreements == []


def test_journeys_forged_packets_begin_at_the_box_and_carry_their_event() -> None:
    """The incident: both forged RSTs are found, the trigger is found, events and wire agree."""
    journeys, disagreements = journeys_of(starttls_block())
    forged = [journey for journey in journeys if journey.forged is not None]
    assert [journey.forged["towards"] for journey in forged if journey.forged] == ["client", "server"]
    assert [journey.began_at for journey in forged] == [2, 2]
    assert [journey.packet.payload for journey in journeys if journey.matched] == [b"STARTTLS\r\n"]
    assert disagreements == []


def test_journeys_repeated_packets_are_journeys_of_their_own() -> None:
    """A packet sent twice, alike in every bit, and lost once: two journeys, one of which ends early."""
    stage = Stage()
    twin = stage.packet("client", "PA", b"twice")
    stage.travel(twin, PLACES, until="sim1")
    stage.travel(twin, PLACES, at_ms=300)
    journeys, _ = journeys_of(stage)
    assert sorted(journey.ended_at for journey in journeys) == [0, 3]


def without(stage: Stage, kind: str) -> list[dict[str, Any]]:
    return [event for event in stage.events if event["event"] != kind]


def test_journeys_forged_packet_that_no_event_tells_of_is_a_disagreement() -> None:
    """A box that forges in secret is found out."""
    stage = starttls_block()
    stage.events = without(stage, "packet_forged")
    _, disagreements = journeys_of(stage)
    assert len(disagreements) == 2
    assert "came from nowhere, and is in no event" in disagreements[0].what


def test_journeys_event_without_its_packet_is_a_disagreement() -> None:
    """A box that boasts is found out."""
    stage = starttls_block()
    for place in ("box-inside", "sim1"):
        stage.captures[place] = [c for c in stage.captures[place] if not c.packet.flags & 4]
    _, disagreements = journeys_of(stage)
    assert [d.what for d in disagreements] == ["forged towards client by the events, on no wire"]


def test_journeys_forged_packet_that_never_arrives_is_a_disagreement() -> None:
    """What left the box must reach the end."""
    stage = starttls_block()
    stage.captures["sim1"] = [c for c in stage.captures["sim1"] if not c.packet.flags & 4]
    _, disagreements = journeys_of(stage)
    assert [d.what for d in disagreements] == ["forged, left the box at box-inside frame 9, never arrived"]


@pytest.mark.parametrize("with_event", [True, False])
def test_journeys_dropped_packet_is_explained_by_its_event_only(*, with_event: bool) -> None:
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


def test_journeys_flow_dropped_by_the_kernel_needs_one_event() -> None:
    """After the first packet of a flow that is dropped whole, the kernel drops the rest without a word."""
    stage = Stage()
    first = stage.send("client", "S", until="box-inside")
    stage.drop("client", first)
    stage.send("client", "S", until="box-inside")
    journeys, disagreements = journeys_of(stage)
    assert [journey.dropped is not None for journey in journeys] == [True, True]
    assert disagreements == []


def test_journeys_dropped_event_for_a_packet_that_passed_is_a_disagreement() -> None:
    """A box that says it dropped what it let through is found out."""
    stage = Stage()
    stage.drop("client", stage.send("client", "S"))
    _, disagreements = journeys_of(stage)
    assert [d.what for d in disagreements] == ["dropped by the events, but it passed or was never there"]


def test_journeys_packet_sent_by_nobody_is_a_disagreement() -> None:
    """A packet that comes into the box and that its host never sent."""
    stage = Stage()
    stage.travel(stage.packet("client", "S"), PLACES[1:])
    _, disagreements = journeys_of(stage)
    assert [d.what for d in disagreements] == ["first seen at box-inside frame 1, sent by nobody"]


def test_journeys_reset_after_a_forged_one_only_says_that_all_is_over() -> None:
    """A kernel that accepted a forged RST answers late data with a RST of its own; before that it is its own doing."""
    stage = starttls_block()
    stage.time_ms += 100
    stage.send("client", "R")
    own = Stage(client_port=50_000)
    handshake(own)
    own.send("client", "R")
    journeys, _ = journeys_of(stage)
    genuine = [j for j in journeys if j.packet.flags & 4 and j.forged is None]
    others, _ = journeys_of(own)
    assert [is_afterwards(journey, journeys) for journey in genuine] == [True]
    assert not any(is_afterwards(journey, others) for journey in others)
