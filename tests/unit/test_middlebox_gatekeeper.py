"""What stands between a capture and its engine: shown is what a live box's kernel would queue, and no more."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP

from middlebox.decision import PASS, Decision
from middlebox.engine import Engine
from middlebox.flow import Direction, Side
from middlebox.gatekeeper import Gatekeeper
from middlebox.packet import ACK, FIN, PSH, RST, SYN, tcp_segment
from middlebox.profile import (
    Deployment,
    KeyPart,
    Log,
    Phase,
    Placement,
    Redirect,
    Residual,
    Rule,
    StateFrom,
    TcpReading,
)
from tests.unit.talk import profile, rule
from tests.unit.tls_bytes import client_hello, record

ENDS = {
    4: (ip_address("192.0.2.11").packed, ip_address("203.0.113.25").packed),
    6: (ip_address("2001:db8:1::11").packed, ip_address("2001:db8:3::25").packed),
}
LEAD = rule("tcp.dstport == 25", (Redirect(ip_address("203.0.113.26").packed, b""),), "lead")
WORD = rule('tcp.payload contains "word"', (Log(),), "word")
EVERYTHING = rule("frame.len > 0", (Log(),))
HELLO = record(22, client_hello())


class Gate(Gatekeeper):
    """A gatekeeper whose engine remembers what it was shown, each packet by what it was told with it."""

    def __init__(self, *rules: Rule, **tcp: Any) -> None:
        self.shown: list[tuple[bytes, Direction | None, bool]] = []
        shown = self.shown

        class Watching(Engine):
            def handle(
                self,
                data: bytes,
                now_ns: int,
                ingress: Side,
                sent_by: Direction | None = None,
                *,
                first: bool = False,
            ) -> Decision:
                shown.append((data, sent_by, first))
                return super().handle(data, now_ns, ingress, sent_by, first=first)

        box = profile(*rules, placement=Placement.IN_PATH, **tcp)
        self.engine = Watching(Deployment("test", (Phase(0, box),)), Random(1), 0)
        super().__init__(self.engine)

    def passes(self, *packets: bytes) -> list[bool]:
        """For each packet, all from inside, whether the engine was shown it."""
        answers = []
        for data in packets:
            self.handle(data, 0, Side.INSIDE)
            answers.append(bool(self.shown) and self.shown[-1][0] is data)
        return answers


def segment(flags: int, payload: bytes = b"", *, port: int = 25, seq: int = 1, family: int = 4) -> bytes:
    client, server = ENDS[family]
    return tcp_segment(
        src=client, dst=server, sport=40000, dport=port, seq=seq, ack=1, flags=flags, window=500, ttl=60,
        payload=payload,
    )  # fmt: skip


def answer(flags: int, payload: bytes = b"", *, port: int = 25, family: int = 4) -> bytes:
    client, server = ENDS[family]
    return tcp_segment(
        src=server, dst=client, sport=port, dport=40000, seq=9, ack=2, flags=flags, window=500, ttl=60,
        payload=payload,
    )  # fmt: skip


def kinds(decision: Decision) -> list[str]:
    return [event.kind for event in decision.events]


# --- where a connection goes ------------------------------------------------------------------------------------------


def test_gatekeeper_asks_once_where_a_connection_goes() -> None:
    """At the first packet, not at a SYN that is sent once more; a new connection with the same ports is another one."""
    gate = Gate(LEAD, WORD)
    led = gate.handle(segment(SYN), 0, Side.INSIDE)
    assert kinds(led) == ["rule_matched", "connection_redirected"]
    assert gate.handle(segment(SYN), 1, Side.INSIDE) is PASS
    assert kinds(gate.handle(segment(SYN, seq=100_000), 2, Side.INSIDE)) == kinds(led)


def test_gatekeeper_leaves_alone_what_was_led_elsewhere() -> None:
    """No other rule sees it, in neither direction; the same words on another port are found."""
    gate = Gate(LEAD, WORD)
    gate.handle(segment(SYN), 0, Side.INSIDE)
    assert gate.handle(segment(PSH | ACK, b"word", seq=2), 1, Side.INSIDE) is PASS
    assert gate.handle(answer(PSH | ACK, b"word"), 2, Side.OUTSIDE) is PASS
    found = gate.handle(segment(PSH | ACK, b"word", port=26), 3, Side.INSIDE)
    assert kinds(found) == ["flow_seen", "rule_matched"]


def test_gatekeeper_shows_what_the_dice_let_pass() -> None:
    """The rule matched and did not act: that is written down, and the other rules have their turn."""
    gate = Gate(rule("tcp.dstport == 25", LEAD.do, "lead", probability=0.0), WORD)
    decision = gate.handle(segment(PSH | ACK, b"word"), 0, Side.INSIDE)
    assert decision.redirect is None
    matched = [event.details for event in decision.events if event.kind == "rule_matched"]
    assert [(details["rule"], details["acted"]) for details in matched] == [("lead", False), ("word", True)]


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [4, 6])
def test_gatekeeper_shows_payload_and_what_begins_or_ends_a_connection(family: int) -> None:
    """Of a rule that reads payload: no SYN, no bare ACK; SYN+ACK for the numbers, RST as the box forgets at one."""
    packets = [
        segment(SYN, family=family), answer(SYN | ACK, family=family), segment(ACK, family=family),
        segment(PSH | ACK, b"some", family=family), answer(PSH | ACK, b"more", family=family),
        segment(FIN | ACK, family=family), segment(RST, family=family),
    ]  # fmt: skip
    assert Gate(WORD).passes(*packets) == [False, True, False, True, True, False, True]


@pytest.mark.parametrize(
    ("reading", "shown"),
    [
        (TcpReading(state_from=StateFrom.SYN), [True, True, False, False]),
        (TcpReading(handshake=True), [True, True, True, True]),
        (TcpReading(ends_on_fin=True), [False, True, False, True]),
    ],
)
def test_gatekeeper_shows_what_a_knob_is_about(reading: TcpReading, shown: list[bool]) -> None:
    """SYN, SYN+ACK, the bare ACK of a handshake, FIN."""
    knobs = {name: getattr(reading, name) for name in ("state_from", "handshake", "ends_on_fin")}
    packets = [segment(SYN), answer(SYN | ACK), segment(ACK), segment(FIN | ACK)]
    assert Gate(WORD, **knobs).passes(*packets) == shown


def test_gatekeeper_shows_only_ports_that_a_rule_is_about() -> None:
    """Both ways, and of TCP: neither UDP nor ICMP begins a flow for such a box."""
    gate = Gate(rule("tcp.dstport == 25 and tcp.len > 0", (Log(),)))
    datagram, echo = bytes(IP() / UDP(sport=40000, dport=25) / b"x"), bytes(IP() / ICMP())
    assert gate.passes(segment(ACK, b"x"), answer(ACK, b"x"), datagram, echo) == [True, True, False, False]
    assert gate.passes(segment(ACK, b"x", port=26), answer(ACK, b"x", port=26)) == [False, False]


def test_gatekeeper_judges_by_the_first_payload_what_may_be_tls() -> None:
    """What does not begin like it comes no more, until a SYN begins another connection."""
    gate = Gate(rule("tls.handshake.type == 1", (Log(),)))
    not_tls = [segment(ACK, port=443), segment(ACK, b"GET /", port=443), segment(ACK, HELLO, port=443, seq=6)]
    assert gate.passes(*not_tls) == [False, False, False]
    tls = [
        segment(SYN, port=443, seq=9),
        segment(ACK, HELLO[:1], port=443, seq=10),
        segment(ACK, b"any", port=443),
    ]
    assert gate.passes(*tls) == [False, True, True]


@pytest.mark.parametrize(("client_port", "server_port"), [(40000, 25), (1000, 7000)])
def test_gatekeeper_tells_who_began_though_the_syn_is_not_shown(client_port: int, server_port: int) -> None:
    """As conntrack does: the sender of the SYN is the client, whatever the ports look like."""
    client, server = ENDS[4]
    fields: dict[str, Any] = {"seq": 1, "ack": 1, "window": 500, "ttl": 60}
    to_server: dict[str, Any] = {"src": client, "dst": server, "sport": client_port, "dport": server_port}
    to_client: dict[str, Any] = {"src": server, "dst": client, "sport": server_port, "dport": client_port}
    gate = Gate(rule("tcp.len > 0", (Log(),)))
    gate.handle(tcp_segment(**fields, **to_server, flags=SYN), 0, Side.INSIDE)
    gate.handle(tcp_segment(**fields, **to_client, flags=ACK, payload=b"hello"), 0, Side.OUTSIDE)
    gate.handle(tcp_segment(**fields, **to_server, flags=ACK, payload=b"hello"), 0, Side.INSIDE)
    told = [(sent_by, first) for _, sent_by, first in gate.shown]
    assert told == [(Direction.SERVER_TO_CLIENT, True), (Direction.CLIENT_TO_SERVER, False)]


def test_gatekeeper_leaves_the_client_to_be_guessed_where_no_syn_was_captured() -> None:
    """The capture may have begun in the middle; the engine goes by the ports then."""
    gate = Gate(WORD)
    gate.handle(answer(PSH | ACK, b"some"), 0, Side.OUTSIDE)
    assert [sent_by for _, sent_by, _ in gate.shown] == [None]


def test_gatekeeper_shows_more_while_somebody_is_punished() -> None:
    """Every packet of the key's ports, SYNs too; when the punishment is over, as before."""
    residual = Residual((KeyPart.CLIENT_IP, KeyPart.SERVER_PORT), 10, False, (Log(),))
    gate = Gate(rule('tcp.dstport == 25 and tcp.payload contains "word"', (Log(),), residual=residual))
    assert gate.passes(segment(ACK), segment(ACK, b"word"), segment(ACK), segment(SYN, seq=9)) == [
        False, True, True, True,
    ]  # fmt: skip
    gate.engine.advance(10)
    assert gate.passes(segment(ACK), segment(SYN, seq=99)) == [False, False]


def test_gatekeeper_keeps_away_what_was_let_go_until_the_rules_change() -> None:
    """A connection without anything left to find comes back in another generation only."""
    gate = Gate(rule("tcp.dstport == 25 and ssh.protocol", (Log(),)))
    first = segment(ACK, b"no SSH at all")
    assert gate.passes(first, segment(ACK, b"again")) == [True, False]
    gate.engine.reload(gate.engine.deployment, 0)
    assert gate.passes(segment(ACK, b"again")) == [True]


@pytest.mark.parametrize(
    "data",
    [
        b"\x45", segment(ACK, b"word")[:30], segment(ACK, b"word")[:40], segment(ACK, b"word", family=6)[:60],
        b"\x45\x00\x00\x00" + segment(ACK, b"word")[4:],
        b"\x45\x00\x00\x20\x00\x00\x00\x01" + segment(ACK, b"word")[8:],
    ],
    ids=["one byte", "half a header", "no payload", "no payload over IPv6", "no length", "later fragment"],
)  # fmt: skip
def test_gatekeeper_shows_what_it_cannot_read(data: bytes) -> None:
    """Cut off by the capture, without the length that a network card fills in, or a piece of something."""
    assert Gate(WORD).passes(data) == [True]


@pytest.mark.parametrize("data", [bytes(60), b"\x60" + bytes(60), b"\x60"])
def test_gatekeeper_does_with_any_bytes_what_a_kernel_would(data: bytes) -> None:
    """No exception; shown where some rule is about every protocol."""
    assert Gate(EVERYTHING).passes(data) == [True]
