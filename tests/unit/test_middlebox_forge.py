"""Looks become packets: every field, and the numbers a receiver expects."""

from __future__ import annotations

from random import Random

import pytest

from middlebox import packet as wire
from middlebox.expression import parse_expression
from middlebox.flow import Direction, Side
from middlebox.flowtable import Flow
from middlebox.forge import Forger, Occasion, expected_numbers, quantile
from middlebox.look import (
    AckFrom,
    Computed,
    Constant,
    Copied,
    Counter,
    Look,
    Mirrored,
    Quantiles,
    SeqFrom,
    Uniform,
)
from middlebox.packet import Packet, decode, tcp_segment

CLIENT, SERVER = bytes([192, 0, 2, 11]), bytes([203, 0, 113, 25])
TO_SERVER, TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
FLOW_KEY = (CLIENT, 40000 | 6 << 16, SERVER, 587 | 6 << 16)


def segment(
    direction: Direction = TO_SERVER, *, seq: int = 1000, ack: int = 5000, **changes: object
) -> Packet:
    ends = {"src": CLIENT, "dst": SERVER, "sport": 40000, "dport": 587}
    if direction is TO_CLIENT:
        ends = {"src": SERVER, "dst": CLIENT, "sport": 587, "dport": 40000}
    fields = {"flags": wire.PSH | wire.ACK, "window": 501, "ttl": 61, "ip_id": 77, "payload": b"STARTTLS\r\n"}
    p = decode(tcp_segment(**ends, seq=seq, ack=ack, **(fields | changes)))  # type: ignore[arg-type]
    assert p is not None
    return p


def occasion(trigger: Packet | None = None, *, passes: bool = True) -> Occasion:
    trigger = trigger or segment()
    flow = Flow(FLOW_KEY, Side.INSIDE, 0)
    direction = TO_SERVER if trigger.src == CLIENT else TO_CLIENT
    return Occasion(trigger, flow, direction, 10_000, passes)


def forge(
    look: Look, where: Occasion | None = None, direction: Direction = TO_CLIENT, seed: int = 1
) -> list[Packet]:
    packets = [decode(f.data) for f in Forger(Random(seed)).segments(look, where or occasion(), direction)]
    assert all(packets)
    return packets  # type: ignore[return-value]


def test_rst_seq_towards_client_is_what_the_client_acknowledged() -> None:
    """The client takes only a RST at exactly its RCV.NXT, which is what its own packet acknowledges (RFC 5961)."""
    (rst,) = forge(Look())
    assert (rst.src, rst.sport, rst.dst, rst.dport) == (SERVER, 587, CLIENT, 40000)
    assert (rst.seq, rst.ack, wire.flag_letters(rst.flags)) == (5000, 0, "R")


def test_rst_seq_towards_server_is_behind_the_trigger_that_passes() -> None:
    """On-path the trigger reaches the server first, so the server's RCV.NXT is behind it."""
    (rst,) = forge(Look(), direction=TO_SERVER)
    assert rst.seq == 1010


def test_rst_seq_towards_server_is_the_triggers_own_when_it_is_dropped() -> None:
    """In-path the server never gets the trigger, so its RCV.NXT is where the trigger starts."""
    (rst,) = forge(Look(), occasion(passes=False), TO_SERVER)
    assert rst.seq == 1000


def test_rst_seq_towards_client_counts_server_data_under_way() -> None:
    """Data of the server that passed the box gets to the client before the RST does."""
    where = occasion()
    where.flow.halves[TO_CLIENT].start(5600)
    assert expected_numbers(where, TO_CLIENT) == (5600, 1010)


def test_rst_ack_towards_client_acknowledges_the_trigger() -> None:
    """A RST+ACK acknowledges all that the client has sent."""
    (rst,) = forge(Look(flags=wire.RST | wire.ACK))
    assert (rst.seq, rst.ack) == (5000, 1010)


def test_rst_answering_a_syn_acknowledges_it() -> None:
    """In SYN-SENT only a RST+ACK that acknowledges the SYN counts (RFC 9293 3.10.7.3); its own seq is unknown."""
    syn = segment(seq=99, ack=0, flags=wire.SYN, payload=b"")
    (rst,) = forge(Look(flags=wire.RST | wire.ACK), occasion(syn))
    assert (rst.seq, rst.ack) == (0, 100)


def test_rst_on_a_server_packet_expects_the_other_way_round() -> None:
    """A trigger of the server: its own seq plus length towards the client, its ack towards the server."""
    where = occasion(segment(TO_CLIENT, seq=5000, ack=1010))
    assert expected_numbers(where, TO_CLIENT) == (5010, 1010)
    assert expected_numbers(where, TO_SERVER) == (1010, 5010)


def test_look_offsets_follow_the_group() -> None:
    """Three packets at X, X+1460, X+4380 (Wang17)."""
    look = Look(count=3, seq_offsets=(0, 1460, 4380))
    assert [p.seq for p in forge(look)] == [5000, 6460, 9380]


@pytest.mark.parametrize(
    ("window", "ip_id", "ttl"),
    [
        (1980, 39795, 108),
        (1981, 39782, 109),
        (1982, 39769, 110),
        (3293, 22726, 77),
        (5041, 2, 97),
        (5042, 65525, 98),
    ],
)
def test_look_expressions_give_the_published_type_2_vectors(window: int, ip_id: int, ttl: int) -> None:
    """IP ID and TTL of the 2010 type 2 injector follow from its window (WC10; overflow case GFWREV)."""
    look = Look(
        window=Constant(window),
        ttl=Computed(parse_expression("48 + window % 64")),
        ip_id=Computed(parse_expression("(-1 - 13 * window) & 0xffff")),
    )
    (rst,) = forge(look)
    assert (rst.ip_id, rst.ttl) == (ip_id, ttl)


def test_look_counter_goes_on_from_trigger_to_trigger() -> None:
    """A counter of the box does not start anew with each trigger; one of the group does."""
    forger = Forger(Random(1))
    look = Look(count=2, window=Counter(10, 1, 65536, "box"), ttl=Counter(50, 2, 256, "group"))
    seen = [decode(f.data) for _ in range(2) for f in forger.segments(look, occasion(), TO_CLIENT)]
    assert [(p.window, p.ttl) for p in seen if p] == [(10, 50), (11, 52), (12, 50), (13, 52)]


def test_counter_each_group_is_shared_by_the_packets_of_an_answer_and_of_chooses_one_of_many() -> None:
    """The second injector of 2010: one window for the three packets, a counter for each of 13 nodes (GFWREV)."""
    forger = Forger(Random(1))
    node = parse_expression("trigger_dport % 13")
    look = Look(count=3, window=Counter(1980, 1, 65536, "box", "group", node))
    here, there = occasion(), occasion()
    there.trigger.dport += 1
    seen = [
        [p.window for f in forger.segments(look, where, direction) if (p := decode(f.data))]
        for where in (here, there, here)
        for direction in (TO_CLIENT, TO_SERVER)
    ]
    assert seen == [[1980] * 3, [1981] * 3, [1980] * 3, [1981] * 3, [1982] * 3, [1983] * 3]


def test_counter_in_two_looks_is_one_counter_and_two_alike_are_two() -> None:
    """What a node says while it punishes counts on from its block (GFWREV); a counter written again is another one."""
    forger = Forger(Random(1))
    node, another = Counter(1980, 1, 65536, "box", "group"), Counter(1980, 1, 65536, "box", "group")
    looks = [Look(count=3, window=node), Look(window=node), Look(window=another)]
    seen = [
        p.window
        for look in looks
        for f in forger.segments(look, occasion(), TO_CLIENT)
        if (p := decode(f.data))
    ]
    assert seen == [1980, 1980, 1980, 1981, 1980]


@pytest.mark.parametrize("said_by", [TO_SERVER, TO_CLIENT])
@pytest.mark.parametrize("direction", [TO_SERVER, TO_CLIENT])
def test_ports_of_the_connection_are_the_same_whoever_speaks(
    direction: Direction, said_by: Direction
) -> None:
    """Both directions of a connection go to the same node (GFWREV), so its ports must not change places."""
    look = Look(
        window=Computed(parse_expression("client_port")), ip_id=Computed(parse_expression("server_port"))
    )
    (p,) = forge(look, occasion(segment(said_by)), direction)
    assert (p.window, p.ip_id) == (40000, 587)


def test_group_draw_is_thrown_once_for_all_packets_of_an_answer() -> None:
    """A group whose TTL starts anywhere and then rises by one (net4people #511)."""
    look = Look(count=3, ttl=Computed(parse_expression("30 + group_draw % 200 + index")))
    for seed in range(20):
        first, second, third = forge(look, seed=seed)
        assert (second.ttl - first.ttl, third.ttl - first.ttl) == (1, 2)


def test_ack_can_be_the_triggers_own_sequence_number() -> None:
    """Towards the client, the numbers of the censored packet are its own, exchanged (GEN-india)."""
    (rst,) = forge(Look(flags=wire.RST | wire.ACK, seq=SeqFrom.TRIGGER_ACK, ack=AckFrom.TRIGGER_SEQ))
    trigger = occasion().trigger
    assert (rst.seq, rst.ack) == (trigger.ack, trigger.seq)


def test_look_copied_and_mirrored_numbers_are_the_triggers() -> None:
    """Some boxes copy the IP ID of the client's packet and mirror its TTL (net4people #39)."""
    (rst,) = forge(
        Look(ttl=Mirrored(), ip_id=Copied(), window=Copied(), seq=SeqFrom.TRIGGER_ACK, ack=AckFrom.COPIED)
    )
    assert (rst.ttl, rst.ip_id, rst.window, rst.seq, rst.ack) == (61, 77, 501, 5000, 5000)


def test_look_uniform_numbers_stay_in_range_and_differ() -> None:
    """Each packet draws anew, both ends of the range included."""
    packets = forge(Look(count=200, ttl=Uniform(38, 41)))
    assert {p.ttl for p in packets} == {38, 39, 40, 41}


def test_look_identical_packets_are_copies() -> None:
    """A group that is said to be identical has one set of draws (SP25, injector II)."""
    look = Look(count=3, identical=True, ip_id=Uniform(0, 65535), window=Uniform(0, 65535))
    assert len({p.data for p in forge(look)}) == 1


def test_look_plain_fields_arrive_as_they_are() -> None:
    """DF, TOS, options and payload are written as the look says."""
    (rst,) = forge(
        Look(dont_fragment=True, tos=8, options=b"\x01\x01\x01\x00", payload=b"\x01\x02", ip_id=Constant(0))
    )
    assert (rst.dont_fragment, rst.tos, rst.tcp_options, rst.payload, rst.ip_id) == (
        True, 8, b"\x01\x01\x01\x00", b"\x01\x02", 0,
    )  # fmt: skip


def test_look_delay_and_spacing_set_the_times() -> None:
    """The first packet goes after the delay, each further one a spacing later."""
    look = Look(count=3, delay=500, spacing_ns=20)
    times = [f.send_at_ns for f in Forger(Random(1)).segments(look, occasion(), TO_CLIENT)]
    assert times == [10_500, 10_520, 10_540]


def test_quantile_is_linear_between_published_points() -> None:
    """A drawn delay lies between the published quantiles around its share."""
    delays = Quantiles(((0.0, 100), (0.5, 200), (1.0, 1000)))
    assert [quantile(delays, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == [100, 150, 200, 600, 1000]


def test_delays_of_one_occasion_are_drawn_by_one_share() -> None:
    """Injectors that answer one packet are late together, each within its own quantiles; the next by another share."""
    slow, fast = Quantiles(((0.0, 1000), (1.0, 2000))), Quantiles(((0.0, 0), (1.0, 1000)))
    forger, one, other = Forger(Random(1)), occasion(), occasion()
    looks = (Look(delay=slow, count=3), Look(delay=fast), Look(delay=slow))
    made = [forger.segments(look, one, to) for look in looks for to in (TO_CLIENT, TO_SERVER)]
    late = {f.send_at_ns - one.now_ns for forged in made for f in forged}
    assert len(late) == 2
    assert max(late) - min(late) == 1000
    assert forger.segments(looks[0], other, TO_CLIENT)[0].send_at_ns - other.now_ns not in late


def test_forger_same_seed_same_packets() -> None:
    """Dice are handed in: a run can be repeated."""
    look = Look(count=5, window=Uniform(0, 65535), ttl=Uniform(0, 255))
    assert [p.data for p in forge(look, seed=3)] == [p.data for p in forge(look, seed=3)]
    assert [p.data for p in forge(look, seed=3)] != [p.data for p in forge(look, seed=4)]


@pytest.mark.parametrize(
    "text", ["__import__('os')", "window.real", "1 if 1 else 2", "x", "1.5", "'a'", "window +"]
)
def test_expression_anything_but_arithmetic_is_refused(text: str) -> None:
    """Only whole numbers, known names and operators; no way out into Python."""
    with pytest.raises(ValueError, match=r"^expected "):
        parse_expression(text)


def test_expression_division_by_zero_counts_as_zero() -> None:
    """A look must never stop a box."""
    assert parse_expression("window // (window - window)").evaluate({"window": 3}) == 0
