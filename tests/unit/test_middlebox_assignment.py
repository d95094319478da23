"""Whom which profile applies to, when."""

from __future__ import annotations

from ipaddress import ip_network

from middlebox.assignment import ADDRESSES_REMEMBERED, Assignment
from middlebox.profile import Deployment, Phase, Subscriber
from tests.unit.talk import CLIENT, OTHER, SECOND_NS, profile, rule

BLOCKING, STRICT = profile(rule("tcp")), profile(rule("udp"))
V6_CLIENT = bytes.fromhex("20010db8000100000000000000000012")
SIM2 = Subscriber(
    "sim2", (ip_network("192.0.2.12/32"), ip_network("2001:db8:1::12/128")),
    (Phase(0, None), Phase(5 * SECOND_NS, STRICT)),
)  # fmt: skip


def profile_of(assignment: Assignment, address: bytes) -> object:
    program, name = assignment.of(address)
    return (None if program is None else program.profile, name)


def test_everybody_gets_the_deployments_own_timeline() -> None:
    """Without subscribers an address does not matter."""
    assignment = Assignment(Deployment("d", (Phase(0, BLOCKING),)), 0)
    assert profile_of(assignment, CLIENT) == profile_of(assignment, V6_CLIENT) == (BLOCKING, "")


def test_subscriber_has_a_timeline_of_its_own() -> None:
    """Two SIMs, the same moment: one blocked, one not; by IPv6 too."""
    assignment = Assignment(Deployment("d", (Phase(0, BLOCKING),), (SIM2,)), 0)
    assert profile_of(assignment, CLIENT) == (BLOCKING, "")
    assert profile_of(assignment, OTHER) == profile_of(assignment, V6_CLIENT) == (None, "sim2")


def test_phases_begin_at_their_time_after_the_start() -> None:
    """Each change is told once, with whom it concerns."""
    deployment = Deployment("d", (Phase(2 * SECOND_NS, BLOCKING), Phase(9 * SECOND_NS, None)), (SIM2,))
    start = 1000 * SECOND_NS
    assignment = Assignment(deployment, start)
    assert profile_of(assignment, CLIENT) == (None, "")
    assert assignment.next_change_ns == start + 2 * SECOND_NS
    assert assignment.advance(start + 2 * SECOND_NS - 1) == []
    assert assignment.advance(start + 2 * SECOND_NS) == [(None, "test")]
    assert profile_of(assignment, CLIENT) == (BLOCKING, "")
    assert assignment.advance(start + 20 * SECOND_NS) == [(None, None), ("sim2", "test")]
    assert profile_of(assignment, OTHER) == (STRICT, "sim2")
    assert assignment.next_change_ns is None


def test_same_profile_again_is_no_change() -> None:
    """A phase that goes on with what is in force is not worth an event."""
    assignment = Assignment(Deployment("d", (Phase(0, BLOCKING), Phase(1, BLOCKING))), 0)
    assert assignment.advance(5) == []


def test_addresses_remembered_are_bounded() -> None:
    """A scan of the inside does not fill the memory, and nobody loses its profile by it."""
    assignment = Assignment(Deployment("d", (Phase(0, BLOCKING),), (SIM2,)), 0)
    for number in range(ADDRESSES_REMEMBERED + 10):
        assignment.of(number.to_bytes(4, "big"))
    assert len(assignment._by_address) <= ADDRESSES_REMEMBERED
    assert profile_of(assignment, OTHER) == (None, "sim2")
