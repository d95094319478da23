"""Who stays punished: by which key, until when, and how many."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from middlebox.flow import Direction, Side
from middlebox.packet import Packet, decode, tcp_segment
from middlebox.profile import Drop, DropScope, KeyPart, Log, PortBlock, Residual, Rule
from middlebox.residual import ResidualTable, Sentence, key_of
from tests.unit.talk import CLIENT, OTHER, RESET_BOTH, SECOND_NS, SERVER, STARTTLS, rule

TO_SERVER, TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
HOSTS = (KeyPart.INSIDE_IP, KeyPart.OUTSIDE_IP)


@dataclass
class View:
    """What a sentence asks of a flow."""

    ingress: Side
    direction: Direction = TO_SERVER
    packets: int = 1
    bytes: int = 40
    data_packets: int = 1
    marks: frozenset[str] = frozenset()
    subscriber: str = ""


def packet(src: bytes = CLIENT, dst: bytes = SERVER, sport: int = 40000, dport: int = 587) -> Packet:
    p = decode(
        tcp_segment(src=src, dst=dst, sport=sport, dport=dport, seq=1, ack=1, flags=0, window=1, ttl=9)
    )
    assert p is not None
    return p


def punishing(
    key: tuple[KeyPart | PortBlock, ...] = HOSTS,
    *,
    refresh: bool = False,
    capacity: int = 100,
    seconds: int = 90,
) -> Rule:
    return rule(STARTTLS, residual=Residual(key, seconds * SECOND_NS, refresh, RESET_BOTH, capacity))


def find(table: ResidualTable, p: Packet, now_ns: int, profile: str = "p") -> bool:
    return table.find(p, View(Side.INSIDE), profile, now_ns) is not None


def start(table: ResidualTable, by: Rule, p: Packet, now_ns: int = 0) -> Sentence | None:
    """Returns who had to go."""
    assert by.residual is not None
    key = key_of(by.residual.key, p, Side.INSIDE, TO_SERVER)
    return table.start(by, "p", key, Side.INSIDE, now_ns)[1]


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (KeyPart.INSIDE_IP, CLIENT),
        (KeyPart.OUTSIDE_IP, SERVER),
        (KeyPart.INSIDE_PORT, 40000),
        (KeyPart.OUTSIDE_PORT, 587),
        (KeyPart.CLIENT_IP, CLIENT),
        (KeyPart.SERVER_IP, SERVER),
        (KeyPart.CLIENT_PORT, 40000),
        (KeyPart.SERVER_PORT, 587),
        (PortBlock(KeyPart.CLIENT_PORT, 128), 40000 // 128),
    ],
)
def test_key_is_the_same_for_both_directions(part: KeyPart | PortBlock, value: object) -> None:
    """A subscriber's question and its answer have one key."""
    asked = key_of((part,), packet(), Side.INSIDE, TO_SERVER)
    answered = key_of((part,), packet(SERVER, CLIENT, 587, 40000), Side.OUTSIDE, TO_CLIENT)
    assert asked == answered == (value,)


def test_key_tells_inside_from_client() -> None:
    """Where the client is outside, the subscriber is the server."""
    p = packet(SERVER, CLIENT, 50000, 25)
    assert key_of((KeyPart.INSIDE_IP, KeyPart.CLIENT_IP), p, Side.OUTSIDE, TO_SERVER) == (CLIENT, SERVER)


def test_sentence_covers_its_key_and_nobody_else_until_it_ends() -> None:
    """The end itself is no longer punished."""
    table = ResidualTable()
    start(table, punishing(), packet())
    assert find(table, packet(sport=1, dport=2), 90 * SECOND_NS - 1)
    assert not find(table, packet(OTHER), 1)
    assert not find(table, packet(), 90 * SECOND_NS)


def test_sentence_of_one_profile_does_not_touch_subscribers_of_another() -> None:
    """Two SIMs at the same server: what one has done is not the other's fault."""
    table = ResidualTable()
    start(table, punishing((KeyPart.OUTSIDE_IP,)), packet())
    assert find(table, packet(OTHER), 1)
    assert not find(table, packet(OTHER), 1, profile="another")


@pytest.mark.parametrize("refresh", [True, False])
def test_refreshed_sentences_end_in_their_new_order(*, refresh: bool) -> None:
    """The next end is known without looking at everybody, refreshed or not."""
    table, by = ResidualTable(), punishing(refresh=refresh)
    start(table, by, packet(), 0)
    start(table, by, packet(OTHER), 10 * SECOND_NS)
    find(table, packet(), 50 * SECOND_NS)
    assert table.next_end_ns == (100 if refresh else 90) * SECOND_NS
    ended = [sentence.key[0] for sentence in table.end_due(100 * SECOND_NS)]
    assert ended == ([OTHER] if refresh else [CLIENT, OTHER])
    assert table.in_force is refresh


def test_full_table_lets_go_of_the_oldest() -> None:
    """Under load real tables run over (Wu23, figure 2)."""
    table, by = ResidualTable(), punishing((KeyPart.INSIDE_PORT,), capacity=3)
    gone = [start(table, by, packet(sport=port)) for port in range(5)]
    assert [sentence and sentence.key for sentence in gone] == [None, None, None, (0,), (1,)]
    assert [find(table, packet(sport=port), 1) for port in range(5)] == [False, False, True, True, True]


def test_match_during_a_sentence_starts_its_time_anew() -> None:
    """One entry for each key."""
    table, by = ResidualTable(), punishing(capacity=2)
    start(table, by, packet(), 0)
    start(table, by, packet(), 60 * SECOND_NS)
    assert table.next_end_ns == 150 * SECOND_NS
    assert [s.until_ns for s in table.end_due(1000 * SECOND_NS)] == [150 * SECOND_NS]


def test_empty_table_is_not_in_force() -> None:
    """Nothing is looked up where nobody is punished."""
    table = ResidualTable()
    assert (table.in_force, table.next_end_ns) == (False, None)
    start(table, punishing(), packet())
    assert table.in_force
    table.clear()
    assert (table.in_force, list(table.end_due(10**18))) == (False, [])


def test_sentence_in_words_names_hosts_and_ports() -> None:
    """The key of an event is for people."""
    table, by = ResidualTable(), punishing((*HOSTS, KeyPart.OUTSIDE_PORT))
    start(table, by, packet())
    (sentence,) = table.end_due(10**18)
    assert sentence.words == ["inside_ip=192.0.2.11", "outside_ip=203.0.113.25", "outside_port=587"]


def test_dropped_direction_of_a_sentence_is_that_of_its_trigger() -> None:
    """ESNI and fully encrypted traffic: what goes out is dropped for minutes, what comes in is not (Wu23 4.4)."""
    by = rule(STARTTLS, residual=Residual(HOSTS, 1, False, (Log(), Drop(DropScope.DIRECTION))))
    table = ResidualTable()
    start(table, by, packet())
    (sentence,) = table.end_due(10)
    assert sentence.actions_on(packet(), View(Side.INSIDE)) == (Log(), Drop(DropScope.DIRECTION))
    assert sentence.actions_on(packet(), View(Side.OUTSIDE)) == (Log(),)
