"""What several rules and actions come to on one packet, and what earlier packets mean for later ones."""

from __future__ import annotations

import re
from random import Random

import pytest

from middlebox import packet as wire
from middlebox.decision import Decision, Offload, Verdict
from middlebox.flow import Direction
from middlebox.look import Look, Uniform
from middlebox.packet import Packet, checksum_is_right, decode
from middlebox.profile import (
    Delay,
    Drop,
    DropScope,
    KeyPart,
    Log,
    Placement,
    Reply,
    Reset,
    Residual,
    Rewrite,
    Substitution,
    TcpReading,
    Towards,
)  # fmt: skip
from tests.unit.talk import RESET_BOTH, SECOND_NS, STARTTLS, Talk, engine_for, event, forged, kinds, rule

IN_PATH = Placement.IN_PATH
TO_SERVER, TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT
LINE = b"STARTTLS\r\n"


def replaced(decision: Decision) -> Packet:
    assert decision.replacement is not None
    p = decode(decision.replacement)
    assert p is not None
    assert checksum_is_right(p)
    return p


def rewrite(pattern: bytes, template: bytes) -> Rewrite:
    return Rewrite((Substitution(re.compile(pattern), template),))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_reset_beside_a_drop_of_another_rule_has_the_number_that_the_server_expects(
    order: tuple[int, int],
) -> None:
    """The trigger is dropped, whichever rule comes first, so the server still waits for its first byte."""
    rules = rule(STARTTLS, RESET_BOTH, name="resets"), rule(STARTTLS, (Drop(),), name="drops")
    talk = Talk(engine_for(*[rules[i] for i in order], placement=IN_PATH)).connect()
    decision = talk.client_sends(LINE)
    to_client, to_server = forged(decision)
    assert decision.verdict is Verdict.DROP
    assert to_server.seq == talk.seq[TO_SERVER] - len(LINE)
    assert to_client.seq == talk.seq[TO_CLIENT]
    assert kinds(decision).count("rule_matched") == 2
    assert kinds(decision).count("packet_dropped") == 1


def test_reset_of_a_later_rule_comes_behind_the_reply_of_an_earlier_one() -> None:
    """What one rule has said to the client moves the numbers of the next."""
    says = rule(
        STARTTLS,
        (Reply(Towards.CLIENT, Look(flags=wire.PSH | wire.ACK, payload=b"454 no\r\n")),),
        name="says",
    )
    talk = Talk(engine_for(says, rule(STARTTLS, RESET_BOTH, name="ends"))).connect()
    reply, to_client, _ = forged(talk.client_sends(LINE))
    assert to_client.seq == reply.seq + len(b"454 no\r\n")


def test_dice_of_a_rule_decide_about_its_drop_alone() -> None:
    """A rule whose dice say no neither drops nor changes the numbers of the others."""
    never = rule(STARTTLS, (Drop(),), name="never", probability=0.0)
    talk = Talk(engine_for(never, rule(STARTTLS, RESET_BOTH), placement=IN_PATH)).connect()
    decision = talk.client_sends(LINE)
    assert decision.verdict is Verdict.ACCEPT
    assert forged(decision)[1].seq == talk.seq[TO_SERVER]


def test_rewritten_packet_is_rewritten_again_when_it_is_sent_again() -> None:
    """A loss behind the box does not let the original through: the list of extensions stays stripped."""
    strip = rule('smtp.rsp.parameter contains "STARTTLS"', (rewrite(rb"250-STARTTLS\r\n", b""),))
    talk = Talk(engine_for(strip, placement=IN_PATH)).connect()
    talk.client_sends(b"EHLO x\r\n")
    start, answer = talk.seq[TO_CLIENT], b"250-mail\r\n250-STARTTLS\r\n250 HELP\r\n"
    first = talk.server_sends(answer)
    again = talk.server_sends(answer, seq=start)
    assert replaced(first).payload == replaced(again).payload == b"250-mail\r\n250 HELP\r\n"
    assert "packet_rewritten" in kinds(again)
    behind = replaced(talk.server_sends(b"220 go\r\n"))
    assert behind.seq == start + len(b"250-mail\r\n250 HELP\r\n")
    acked = replaced(talk.client_sends(b"NOOP\r\n", ack=behind.seq))
    assert acked.ack == start + len(answer)


def test_rewrite_of_equal_length_is_kept_up_too() -> None:
    """XXXXXXXX stays XXXXXXXX, however the command is sent again (Dur15)."""
    talk = Talk(engine_for(rule(STARTTLS, (rewrite(b"STARTTLS", b"XXXXXXXX"),)), placement=IN_PATH)).connect()
    start = talk.seq[TO_SERVER]
    assert replaced(talk.client_sends(LINE)).payload == b"XXXXXXXX\r\n"
    assert b"STARTTLS" not in replaced(talk.client_sends(LINE[:8], seq=start)).payload


def test_rewrites_of_two_rules_are_both_done() -> None:
    """The second changes what the first has made."""
    first, second = (
        rule("tcp.len == 3", (rewrite(b"a", b"bb"),)),
        rule("tcp.len == 3", (rewrite(b"bb", b"ccc"),)),
    )
    talk = Talk(engine_for(first, second, placement=IN_PATH)).connect()
    assert replaced(talk.client_sends(b"a--")).payload == b"ccc--"
    assert replaced(talk.client_sends(b"z")).seq == talk.seq[TO_SERVER] - 1 + 2


def test_segment_that_overtakes_waits_where_a_rule_may_still_change_what_is_before_it() -> None:
    """Nobody knows yet by how much its numbers will move: it is dropped, and comes again."""
    talk = Talk(engine_for(rule(STARTTLS, (rewrite(b"STARTTLS", b"NO"),)), placement=IN_PATH)).connect()
    start = talk.seq[TO_SERVER]
    assert talk.client_sends(b"behind\r\n", seq=start + len(LINE)).verdict is Verdict.DROP
    assert replaced(talk.client_sends(LINE)).payload == b"NO\r\n"
    assert replaced(talk.client_sends(b"behind\r\n")).seq == start + 4


def test_forged_segments_use_the_numbers_that_each_end_knows() -> None:
    """After a change of length the two ends count differently, and a RST has to be exact at both."""
    shorten = rule('tcp.payload contains "long"', (rewrite(b"long", b""),), name="shortens")
    ends = rule(
        'tcp.payload contains "end"', (Reset(Towards.BOTH, Look(flags=wire.RST | wire.ACK)),), name="ends"
    )
    talk = Talk(engine_for(shorten, ends, placement=IN_PATH)).connect()
    talk.client_sends(b"long line")
    told = replaced(talk.client_sends(b"end"))
    to_client, to_server = forged(talk.client_sends(b"end"))
    assert to_server.seq == told.seq + 2 * len(b"end")
    assert (to_client.seq, to_client.ack) == (talk.seq[TO_CLIENT], talk.seq[TO_SERVER])
    to_client, to_server = forged(talk.server_sends(b"end", ack=told.seq + 6))
    assert to_server.seq == told.seq + 6
    assert to_client.ack == talk.seq[TO_SERVER]


def test_translation_outlives_reset_flags_and_reloads() -> None:
    """Ends that ignore a forged RST go on, and their numbers still have to be moved."""
    engine = engine_for(rule('tcp.payload contains "long"', (rewrite(b"long", b""),)), placement=IN_PATH)
    talk = Talk(engine).connect()
    start = talk.seq[TO_SERVER]
    talk.client_sends(b"long line")
    talk.client_sends(flags="R", seq=start)
    assert replaced(talk.client_sends(b"x")).seq == start + 5
    engine.reload(engine.deployment, 1)
    assert replaced(talk.client_sends(b"y")).seq == start + 6


def test_flags_and_stripped_payload_turn_a_data_packet_into_a_reset() -> None:
    """The TSPU lets the request pass and changes the next packet of the server."""
    turned = Rewrite(flags=wire.RST | wire.ACK, strip=True)
    talk = Talk(
        engine_for(rule("tcp.srcport == 587 and tcp.len > 0", (turned,)), placement=IN_PATH)
    ).connect()
    decision = talk.server_sends(b"secret")
    assert (replaced(decision).flags, replaced(decision).payload) == (wire.RST | wire.ACK, b"")
    assert kinds(decision).count("packet_rewritten") == 1


def test_packet_held_by_two_rules_waits_for_the_longer() -> None:
    """A delay never makes a packet earlier."""
    rules = rule("tcp.len > 0", (Delay(500),)), rule("tcp.len > 0", (Delay(200),))
    assert Talk(engine_for(*rules, placement=IN_PATH)).client_sends(b"x").hold_until_ns == 500


def test_blocked_direction_is_dropped_by_the_kernel_and_the_other_passed() -> None:
    """With nothing left to match, each direction gets the answer that it needs, and never both."""
    blocking = rule('tcp.payload contains "x" and tcp.dstport == 587', (Drop(DropScope.DIRECTION),))
    talk = Talk(engine_for(blocking, placement=IN_PATH)).connect()
    assert talk.client_sends(b"x").offload == Offload.DROP_CLIENT_TO_SERVER
    answer = talk.server_sends(b"y")
    assert answer.offload == Offload.DROP_CLIENT_TO_SERVER | Offload.PASS_SERVER_TO_CLIENT
    assert answer.verdict is Verdict.ACCEPT


def test_block_stays_when_kernel_marks_are_void_and_when_a_reset_passes() -> None:
    """A new generation asks again; the answer is the same."""
    engine = engine_for(rule(STARTTLS, (Drop(DropScope.FLOW),)), placement=IN_PATH)
    talk = Talk(engine).connect()
    talk.client_sends(LINE)
    engine._new_generation()
    assert talk.server_sends(b"late\r\n").verdict is Verdict.DROP
    assert talk.server_sends(flags="R").verdict is Verdict.DROP
    assert talk.client_sends(b"QUIT\r\n").offload & Offload.DROP == Offload.DROP
    talk.seq[TO_SERVER] += 100_000
    assert talk.client_sends(flags="S").verdict is Verdict.ACCEPT  # another connection


def test_reload_ends_what_the_old_rules_have_begun() -> None:
    """Blocks and sentences die with their rules."""
    residual = Residual((KeyPart.INSIDE_IP,), 90 * SECOND_NS, False, (Drop(),))
    engine = engine_for(rule(STARTTLS, (Drop(DropScope.FLOW),), residual=residual), placement=IN_PATH)
    talk = Talk(engine).connect()
    talk.client_sends(LINE)
    engine.reload(engine_for(rule("tcp.dstport == 25", (Log(),))).deployment, 1)
    assert talk.client_sends(b"QUIT\r\n").verdict is Verdict.ACCEPT


def test_bytes_that_a_sentence_dropped_pass_after_its_end() -> None:
    """A timer that is over is over: retransmissions get through (ESNI, Wu23)."""
    residual = Residual((KeyPart.INSIDE_IP,), 10 * SECOND_NS, False, (Drop(),))
    engine = engine_for(rule('tcp.payload contains "x"', (Log(),), residual=residual), placement=IN_PATH)
    talk = Talk(engine).connect()
    talk.client_sends(b"x")
    start = talk.seq[TO_SERVER]
    assert talk.client_sends(b"data").verdict is Verdict.DROP
    talk.now_ns = 10 * SECOND_NS
    engine.advance(talk.now_ns)
    assert talk.client_sends(b"data", seq=start).verdict is Verdict.ACCEPT


def test_blocked_connection_stays_blocked_while_its_host_is_punished_otherwise() -> None:
    """A sentence that only resets does not let through what is blocked."""
    residual = Residual((KeyPart.INSIDE_IP,), 10 * SECOND_NS, False, RESET_BOTH)
    talk = Talk(
        engine_for(rule(STARTTLS, (Drop(DropScope.FLOW),), residual=residual), placement=IN_PATH)
    ).connect()
    talk.client_sends(LINE)
    later = talk.client_sends(b"QUIT\r\n")
    assert (later.verdict, later.offload) == (Verdict.DROP, Offload.NONE)
    assert "residual_hit" in kinds(later)


def test_host_without_remembered_connection_is_punished_too() -> None:
    """A box that needs a SYN to match needs none to punish (WOOT21: 3-tuple)."""
    residual = Residual((KeyPart.INSIDE_IP,), 10 * SECOND_NS, False, RESET_BOTH)
    engine = engine_for(rule(STARTTLS, residual=residual), state_from=TcpReading().state_from.SYN)
    older = Talk(engine, port=50000, server_port=80)
    assert not older.client_sends(b"x").forged
    Talk(engine).connect().client_sends(LINE)
    assert event(older.client_sends(b"y"), "residual_hit").details["key"] == ["inside_ip=192.0.2.11"]
    assert engine.flows == 1


def test_sentence_that_makes_room_for_another_is_written_down() -> None:
    """Whoever is free again sooner than was said is so by the ground truth too."""
    residual = Residual((KeyPart.CLIENT_PORT,), 90 * SECOND_NS, False, (Log(),), capacity=1)
    engine = engine_for(rule(STARTTLS, (Log(),), residual=residual))
    first, second = Talk(engine, port=40000).connect(), Talk(engine, port=40001).connect()
    first.client_sends(LINE)
    decision = second.client_sends(LINE)
    assert kinds(decision) == ["rule_matched", "residual_ended", "residual_started"]
    assert event(decision, "residual_ended").details["key"] == ["client_port=40000"]
    assert event(decision, "residual_started").details["key"] == ["client_port=40001"]


@pytest.mark.parametrize("count", [1, 7])
def test_dice_of_rules_do_not_depend_on_what_is_forged(count: int) -> None:
    """The n-th match throws the n-th number of the seed, however many packets are drawn up in between."""
    look = Look(count=count, window=Uniform(1, 65535))
    engine = engine_for(rule(STARTTLS, (Reset(Towards.BOTH, look),), probability=0.5))
    acted = []
    for port in range(40):
        decision = Talk(engine, port=40000 + port).connect().client_sends(LINE)
        acted.append(event(decision, "rule_matched").details["acted"])
    dice = Random(7)
    assert acted == [dice.random() < 0.5 for _ in range(40)]
