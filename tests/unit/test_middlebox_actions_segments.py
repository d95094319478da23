"""`reset`, `close`, `reply`: which end gets what, and numbers that go on from one forged segment to the next."""

from __future__ import annotations

from random import Random

import pytest

from middlebox import packet as wire
from middlebox.actions import plan
from middlebox.actions.segments import plan_segments
from middlebox.decision import Forged
from middlebox.flow import Direction
from middlebox.forge import Forger
from middlebox.look import Look
from middlebox.packet import Packet, decode
from middlebox.profile import Action, Close, Reply, Reset, Towards
from tests.unit.test_middlebox_forge import SERVER, TO_CLIENT, TO_SERVER, occasion, segment

RA, FA, PA = wire.RST | wire.ACK, wire.FIN | wire.ACK, wire.PSH | wire.ACK


def decoded(planned: list[tuple[Direction, Forged]]) -> list[tuple[Direction, Packet]]:
    pairs = [(direction, decode(forged.data)) for direction, forged in planned]
    return [(direction, p) for direction, p in pairs if p is not None]


def planned(*actions: Action, passes: bool = True) -> list[tuple[Direction, Packet]]:
    """What these actions of one rule forge on a client's `STARTTLS` at seq 1000, ack 5000."""
    return decoded(plan(actions, Forger(Random(1)), occasion(passes=passes)).forged)


@pytest.mark.parametrize(
    ("towards", "directions"),
    [
        (Towards.CLIENT, [TO_CLIENT]),
        (Towards.SERVER, [TO_SERVER]),
        (Towards.BOTH, [TO_CLIENT, TO_SERVER]),
    ],
)
def test_reset_goes_to_the_ends_that_are_named(towards: Towards, directions: list[Direction]) -> None:
    """Both means the client first: what goes there has the shorter way to race."""
    assert [direction for direction, _ in planned(Reset(towards, Look()))] == directions


def test_reset_looks_may_differ_by_end() -> None:
    """Some boxes send the two ends different packets."""
    to_client, to_server = Look(flags=RA), Look(flags=wire.RST, count=2)
    forged = planned(Reset(Towards.BOTH, Look(), look_to_client=to_client, look_to_server=to_server))
    assert [p.flags for _, p in forged] == [RA, wire.RST, wire.RST]


def test_close_counts_as_one_byte_for_what_follows() -> None:
    """A forged FIN takes a sequence number, so a RST behind it comes one later (RFC 9293 3.4)."""
    forged = planned(Close(Towards.CLIENT, Look(flags=FA)), Reset(Towards.CLIENT, Look()))
    assert [p.seq for _, p in forged] == [5000, 5001]


def test_reset_behind_a_forged_reply_has_the_number_that_its_receiver_then_expects() -> None:
    """551 first, then the end: the RST comes behind the bytes of the reply, towards the client only."""
    text = b"551 User not local; please try <forward-path>\r\n"
    forged = planned(Reply(Towards.CLIENT, Look(flags=PA, payload=text)), Reset(Towards.BOTH, Look(flags=RA)))
    assert [(direction, p.seq, p.ack) for direction, p in forged] == [
        (TO_CLIENT, 5000, 1010),
        (TO_CLIENT, 5000 + len(text), 1010),
        (TO_SERVER, 1010, 5000),
    ]
    assert forged[0][1].payload == text


def test_reply_with_fin_counts_text_and_fin() -> None:
    """A block page that ends the connection moves the number by its length and one."""
    forged = planned(
        Reply(Towards.CLIENT, Look(flags=PA | wire.FIN, payload=b"gone")), Reset(Towards.CLIENT, Look())
    )
    assert [p.seq for _, p in forged] == [5000, 5005]


def test_reset_of_a_dropped_trigger_starts_where_the_trigger_does() -> None:
    """What never arrives has not moved the server's numbers."""
    ((_, to_client), (_, to_server)) = planned(Reset(Towards.BOTH, Look(flags=RA)), passes=False)
    assert (to_server.src, to_server.seq) != (SERVER, 1010)
    assert to_server.seq == 1000
    assert to_client.ack == 1010


def test_segments_answer_no_datagram_and_no_later_fragment() -> None:
    """Only a TCP header tells what an end expects."""
    trigger = segment()
    trigger.protocol = wire.PROTOCOL_UDP
    assert plan_segments(Reset(Towards.BOTH, Look()), Forger(Random(1)), occasion(trigger)) == []
    fragment = segment()
    fragment.payload_start = fragment.l4
    assert plan_segments(Reset(Towards.BOTH, Look()), Forger(Random(1)), occasion(fragment)) == []
