"""Residuals whose `do` depends on the packet, and keys over blocks of ports."""

from __future__ import annotations

from middlebox import packet as wire
from middlebox.filters import compile_filter
from middlebox.flow import Direction
from middlebox.look import AckFrom, Look, Uniform
from middlebox.packet import Packet, decode
from middlebox.profile import Case, KeyPart, PortBlock, Reply, Reset, Residual, Towards
from tests.unit.talk import RESET_BOTH, SECOND_NS, STARTTLS, Talk, engine_for, kinds, rule

HOSTS = (KeyPart.CLIENT_IP, KeyPart.SERVER_IP)
SPOILED = Reply(
    Towards.CLIENT, Look(flags=wire.SYN | wire.ACK, seq=Uniform(0, 0xFFFFFFFF), ack=AckFrom.EXPECTED)
)


def forged_by(talk: Talk, flags: str, payload: bytes = b"") -> list[Packet]:
    packets = [decode(f.data) for f in talk.client_sends(payload, flags=flags).forged]
    assert all(packets)
    return packets  # type: ignore[return-value]


def test_residual_case_decides_by_the_packet_and_lets_others_alone() -> None:
    """A SYN meets a forged SYN+ACK, data a RST, and a RST, which no case is about, nothing (Wang17 2.1)."""
    cases = (
        Case(compile_filter("tcp.flags.syn == 1 and tcp.flags.ack == 0"), (SPOILED,)),
        Case(compile_filter("tcp.flags.reset == 0"), (Reset(Towards.CLIENT, Look()),)),
    )
    engine = engine_for(rule(STARTTLS, residual=Residual(HOSTS, 90 * SECOND_NS, False, (), cases=cases)))
    Talk(engine).connect().client_sends(b"STARTTLS\r\n")
    later = Talk(engine, port=40001, server_port=80)
    (spoiled,) = forged_by(later, "S")
    assert wire.flag_letters(spoiled.flags) == "SA"
    syn_seq = later.seq[Direction.CLIENT_TO_SERVER] - 1
    assert spoiled.ack == (syn_seq + 1) & 0xFFFFFFFF
    assert [wire.flag_letters(p.flags) for p in forged_by(later, "PA", b"GET / HTTP/1.1\r\n")] == ["R"]
    decision = later.client_sends(flags="R")
    assert decision.forged == ()
    assert "residual_hit" not in kinds(decision)


def test_residual_key_with_a_block_of_ports_punishes_the_whole_block() -> None:
    """Ports 39936 to 40063 are one block of 128 (Clayton 2006); its neighbours are others."""
    key = (*HOSTS, PortBlock(KeyPart.CLIENT_PORT, 128))
    engine = engine_for(rule(STARTTLS, residual=Residual(key, 90 * SECOND_NS, False, RESET_BOTH)))
    decision = Talk(engine, port=40000).connect().client_sends(b"STARTTLS\r\n")
    (started,) = [event for event in decision.events if event.kind == "residual_started"]
    assert "client_port / 128=312" in started.details["key"]
    hit = {p: bool(Talk(engine, port=p).client_sends(flags="S").forged) for p in (39935, 39936, 40063, 40064)}
    assert hit == {39935: False, 39936: True, 40063: True, 40064: False}
