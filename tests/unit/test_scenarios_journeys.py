"""One packet, one journey: where each was seen, and whether the events say the same."""

from __future__ import annotations

from scenarios.explanation import Disagreement, explain
from scenarios.journeys import Journey, collect, is_afterwards
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


def test_journey_made_reset_is_the_packet_that_left_the_box() -> None:
    """A RST forged, or made of data on its way, is the box's own; what a host sent as a RST is not."""
    journeys, _ = journeys_of(starttls_block())
    assert [j.made_reset[1] for j in journeys if j.made_reset] == ["client", "server"]
    data = next(j for j in journeys if j.packet.payload)
    reset = next(j.packet for j in journeys if j.made_reset)
    assert data.made_reset is None
    data.rewritten, data.leaves_as = {"direction": "server-to-client"}, reset
    assert data.made_reset == (reset, "client")
    data.packet = reset
    assert data.made_reset is None
