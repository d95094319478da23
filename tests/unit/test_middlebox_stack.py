"""Several boxes at one place: each sees what it would see alone, and the kernel is told what all of them agree on."""

from __future__ import annotations

from random import Random

import pytest

from middlebox import packet as wire
from middlebox.decision import Decision, Offload, Verdict
from middlebox.engine import Engine
from middlebox.flow import Side
from middlebox.packet import Packet, decode
from middlebox.profile import Deployment, Drop, KeyPart, Phase, Placement, Profile, Reassembly, Residual, Rule
from middlebox.stack import Stack
from tests.unit.talk import RESET_BOTH, Talk, profile, rule

STARTTLS = 'tcp.dstport == 587 and smtp.command_line matches "^STARTTLS"'
KEYWORD = 'tcp.payload contains "ultrasurf"'


def engine(name: str, box: Profile) -> Engine:
    return Engine(Deployment(name, (Phase(0, box),)), Random(1), 0)


def stack_of(*rules: Rule, placement: Placement = Placement.ON_PATH) -> Stack:
    return Stack([engine(r.name, profile(r, placement=placement)) for r in rules])


def matched(decision: Decision) -> list[str]:
    return [event.details["rule"] for event in decision.events if event.kind == "rule_matched"]


def test_stack_every_box_answers_the_same_packet() -> None:
    """One packet that two boxes are looking for sets off both, in the order in which it passes them."""
    stack = stack_of(rule(STARTTLS, name="mail"), rule('tcp.payload contains "STARTTLS"', name="words"))
    decision = Talk(stack).connect().client_sends(b"STARTTLS\r\n")
    assert matched(decision) == ["mail", "words"]
    assert len(decision.forged) == 4


def test_stack_decodes_a_packet_once_for_each_box(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it reads for itself is handed on to the first box; a box that has let go costs nothing."""
    stack = stack_of(rule(STARTTLS, name="mail"), rule(KEYWORD, name="words"), rule(KEYWORD, name="more"))
    decoded: list[bytes] = []

    def counting(data: bytes) -> Packet | None:
        decoded.append(data)
        return decode(data)

    monkeypatch.setattr(wire, "decode", counting)
    talk = Talk(stack).connect()
    decoded.clear()
    talk.client_sends(b"EHLO a\r\n")
    assert len(decoded) == 3
    web = Talk(stack, server_port=80).connect()
    decoded.clear()
    web.client_sends(b"GET /")
    assert len(decoded) == 2


def test_stack_every_box_sees_the_ttl_that_the_packet_came_with() -> None:
    """What one box notes about a packet is not seen by the next."""
    seen = rule("ip.ttl == 61", name="seen")
    boxes = [Deployment(name, (Phase(0, profile(seen)),)) for name in ("one", "two")]
    stack = Stack([Engine(box, Random(1), 0, hops_taken=1) for box in boxes])
    assert matched(Talk(stack).client_sends(b"x")) == ["seen", "seen"]


def test_stack_bytes_that_no_box_can_read_pass_and_are_counted_once() -> None:
    """Of one box as of two."""
    for stack in (stack_of(rule(STARTTLS)), stack_of(rule(STARTTLS), rule(KEYWORD, name="words"))):
        assert stack.handle(b"\x45garbage", 0, Side.INSIDE).verdict is Verdict.ACCEPT
        assert stack.undecoded == 1


def test_stack_packets_from_outside_pass_the_boxes_the_other_way_round() -> None:
    """What comes from outside meets the outer box first."""
    stack = stack_of(rule("tcp.srcport == 587", name="inner"), rule("tcp.srcport == 587", name="outer"))
    assert matched(Talk(stack).server_sends(b"220 x\r\n")) == ["outer", "inner"]


def test_stack_lets_go_when_all_boxes_have() -> None:
    """A box that has let go keeps nobody, and one that still looks keeps the connection in user space."""
    stack = stack_of(rule(STARTTLS, name="mail"), rule(KEYWORD, name="words"))
    talk = Talk(stack, server_port=80).connect()
    assert talk.client_sends(b"GET / HTTP/1.1\r\n").offload is Offload.NONE
    assert matched(talk.client_sends(b"Host: ultrasurf\r\n")) == ["words"]
    both_done = stack_of(rule(STARTTLS, name="mail"), rule("tcp.dstport == 25 and smtp", name="other"))
    assert Talk(both_done, server_port=80).client_sends(flags="S").offload is Offload.PASS


def test_stack_ports_used_again_are_shown_to_every_box() -> None:
    """That a box had let go of a connection says nothing about the next one on the same ports."""
    stack = stack_of(rule(STARTTLS, name="mail"), rule(KEYWORD, name="words"))
    Talk(stack, server_port=80).connect().client_sends(b"GET /")
    again = Talk(stack, server_port=80).connect()
    assert matched(again.client_sends(b"ultrasurf")) == ["words"]


def test_stack_what_one_box_drops_the_next_does_not_see() -> None:
    """In-path boxes stand one behind the other."""
    stack = stack_of(
        rule(STARTTLS, (Drop(),), name="first"), rule(STARTTLS, name="second"), placement=Placement.IN_PATH
    )
    decision = Talk(stack).connect().client_sends(b"STARTTLS\r\n")
    assert decision.verdict is Verdict.DROP
    assert matched(decision) == ["first"]


def test_stack_each_box_reads_tcp_in_its_own_way() -> None:
    """A command cut in two is seen by the box that joins segments, and not by the one that does not."""
    joins = engine("joins", profile(rule(STARTTLS, name="joins")))
    alone = engine("alone", profile(rule(STARTTLS, name="alone"), reassembly=Reassembly.NONE))
    talk = Talk(Stack([joins, alone])).connect()
    talk.client_sends(b"START")
    assert matched(talk.client_sends(b"TLS\r\n")) == ["joins"]


def test_stack_is_punishing_while_any_box_is() -> None:
    """The edge asks the stack whether more packets have to be seen."""
    residual = Residual((KeyPart.CLIENT_IP,), 1000, False, RESET_BOTH)
    stack = stack_of(rule(KEYWORD, name="words"), rule(STARTTLS, name="mail", residual=residual))
    before = stack.generation
    assert not stack.punishing
    Talk(stack).connect().client_sends(b"STARTTLS\r\n")
    assert stack.punishing
    assert stack.generation != before
    assert stack.next_change_ns is not None
    assert [event.kind for event in stack.advance(stack.next_change_ns)] == ["residual_ended"]
    assert not stack.punishing


def test_stack_reload_gives_each_box_its_own() -> None:
    """Boxes are reloaded side by side."""
    stack = stack_of(rule(KEYWORD, name="words"), rule(STARTTLS, name="mail"))
    new = [Deployment(name, (Phase(0, profile(rule("tcp", name=name))),)) for name in ("a", "b")]
    stack.reload(new, 5)
    assert matched(Talk(stack).client_sends(b"x")) == ["a", "b"]
