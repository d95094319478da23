"""Which arrival was which sending: as many as possible explained, none before it was sent."""

from __future__ import annotations

from scenarios.pairing import MAX_CELLS, pair


def test_pairing_equal_numbers_in_time_pair_in_order() -> None:
    """Nothing lost, nothing added: first to first."""
    assert pair([0, 10, 20], [5, 15, 25]) == {0: 0, 1: 1, 2: 2}


def test_pairing_arrival_before_its_sending_stays_alone() -> None:
    """An effect does not come before its cause."""
    assert pair([10], [5, 15]) == {1: 0}


def test_pairing_arrival_sooner_than_the_journey_takes_stays_alone() -> None:
    """Of two arrivals the one that made the journey is explained, not the earlier one."""
    assert pair([0], [3, 35], least_ns=17, usual_ns=35) == {1: 0}


def test_pairing_prefers_the_usual_transit_time() -> None:
    """Where both could be, the nearer one is."""
    assert pair([0], [20, 36], least_ns=17, usual_ns=35) == {1: 0}


def test_pairing_explains_as_many_as_possible() -> None:
    """A lost packet does not make a later one forged."""
    assert set(pair([0, 100, 200], [135, 235], least_ns=17, usual_ns=35)) == {0, 1}


def test_pairing_of_very_many_is_bounded() -> None:
    """A flood of equal packets costs no more than a pass over it."""
    sent = list(range(0, 30_000, 10))
    arrived = [0, *(time + 5 for time in sent)]
    assert len(sent) * len(arrived) > MAX_CELLS
    assert len(pair(sent, arrived, least_ns=1)) == len(sent)


def test_pairing_nothing_with_nothing() -> None:
    """No arrivals, nothing to explain."""
    assert pair([], []) == {}
    assert pair([1], []) == {}
    assert pair([], [1]) == {}
