"""Which packets begin a connection, who is its client, and when it was forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from middlebox.flow import Direction, Side
from middlebox.flowtable import Flow
from middlebox.opening import is_forgotten, is_new_connection, may_open, sent_by_server
from middlebox.packet import Packet, decode, parse_flag_letters, tcp_segment
from middlebox.profile import SecondSyn, StateFrom, TcpReading
from middlebox.program import Program
from middlebox.stream import REUSE_DISTANCE
from tests.unit.talk import CLIENT, SECOND_NS, SERVER, profile, rule

KEY = (CLIENT, 40000 | 6 << 16, SERVER, 587 | 6 << 16)
TO_SERVER, TO_CLIENT = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT


def packet(
    flags: str, *, seq: int = 1000, sport: int = 40000, dport: int = 587, payload: bytes = b""
) -> Packet:
    p = decode(
        tcp_segment(
            src=CLIENT, dst=SERVER, sport=sport, dport=dport, seq=seq, ack=0, flags=parse_flag_letters(flags),
            window=1, ttl=9, payload=payload,
        )
    )  # fmt: skip
    assert p is not None
    return p


def flow(direction: Direction = TO_SERVER, *, next_seq: int | None = 1001, **tcp: object) -> Flow:
    """A connection whose packets in `direction` go on at `next_seq`."""
    made = Flow(KEY, Side.INSIDE, 0)
    made.program = Program(replace(profile(rule("tcp")), tcp=TcpReading(**tcp)))  # type: ignore[arg-type]
    made.direction = direction
    made.halves[direction].next_seq = next_seq
    return made


@pytest.mark.parametrize(
    ("state_from", "opening"),
    [(StateFrom.SYN, {"S"}), (StateFrom.SYNACK, {"S", "SA"}), (StateFrom.ANY, {"S", "SA", "PA", "R"})],
)
def test_may_open_is_what_the_knob_says(state_from: StateFrom, opening: set[str]) -> None:
    """On a SYN, on a SYN+ACK too (Wang17 section 4), or on anything."""
    reading = TcpReading(state_from=state_from)
    assert {flags for flags in ("S", "SA", "PA", "R") if may_open(packet(flags), reading)} == opening


@pytest.mark.parametrize(
    ("flags", "sport", "dport", "server"),
    [("S", 25, 40000, False), ("SA", 40000, 25, True), ("PA", 25, 40000, True), ("PA", 40000, 25, False)],
)
def test_server_is_who_answers_a_syn_else_who_has_the_lower_port(
    flags: str, sport: int, dport: int, *, server: bool
) -> None:
    """A SYN is the client's and a SYN+ACK the server's, whatever the ports."""
    assert sent_by_server(packet(flags, sport=sport, dport=dport)) is server


def test_connection_is_forgotten_when_it_was_idle_for_so_long() -> None:
    """Not before; and not as long as some of it is blocked."""
    idle = flow(idle_ns=SECOND_NS)
    assert (is_forgotten(idle, SECOND_NS - 1), is_forgotten(idle, SECOND_NS)) == (False, True)
    idle.stopped = True
    assert not is_forgotten(idle, SECOND_NS)


@pytest.mark.parametrize("second_syn", SecondSyn)
def test_syn_with_another_number_is_new_only_where_the_knob_says_so(second_syn: SecondSyn) -> None:
    """The same SYN sent again never is; the server's own is another connection's, or nothing."""
    new = second_syn is SecondSyn.NEW
    assert not is_new_connection(packet("S", seq=1000), flow(second_syn=second_syn))
    assert is_new_connection(packet("S", seq=1001), flow(second_syn=second_syn)) is new
    assert is_new_connection(packet("S", seq=1000), flow(TO_CLIENT, second_syn=second_syn)) is new


@pytest.mark.parametrize("second_syn", SecondSyn)
@pytest.mark.parametrize(("ahead", "far"), [(REUSE_DISTANCE, False), (REUSE_DISTANCE + 1, True)])
def test_number_from_nowhere_is_new_only_where_a_syn_would_be(
    ahead: int, second_syn: SecondSyn, *, far: bool
) -> None:
    """Data that cannot belong to the connection; within the distance it may, and without a number nobody knows."""
    stray = packet("PA", seq=1001 + ahead, payload=b"x")
    new = far and second_syn is SecondSyn.NEW
    assert is_new_connection(stray, flow(second_syn=second_syn)) is new
    assert not is_new_connection(stray, flow(next_seq=None, second_syn=second_syn))
    assert not is_new_connection(packet("A", seq=1001 + ahead), flow(second_syn=second_syn))
