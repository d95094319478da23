"""The engine as a whole: packets in, decisions out. Each test is a short conversation."""

from __future__ import annotations

from ipaddress import ip_network
from random import Random

import pytest
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import IP, UDP
from scapy.packet import Raw

from middlebox import packet as wire
from middlebox.decision import Decision, Offload, Verdict
from middlebox.engine import Engine
from middlebox.flow import Direction, Side
from middlebox.packet import decode, tcp_segment
from middlebox.profile import (
    Deployment,
    Drop,
    DropScope,
    KeyPart,
    Log,
    Phase,
    Placement,
    Reassembly,
    Residual,
    StateFrom,
    Subscriber,
)
from tests.unit.talk import (
    CLIENT,
    OTHER,
    RESET_BOTH,
    SECOND_NS,
    SERVER,
    STARTTLS,
    Talk,
    engine_for,
    kinds,
    profile,
    rule,
)
from tests.unit.tls_bytes import client_hello, record, server_hello


def test_starttls_resets_both_ends() -> None:
    """The moment the client says STARTTLS both ends get a RST with the numbers they expect."""
    talk = Talk(engine_for(rule(STARTTLS))).connect()
    talk.server_sends(b"220 mail.example ESMTP\r\n")
    talk.client_sends(b"EHLO sim1\r\n")
    talk.server_sends(b"250-mail.example\r\n250 STARTTLS\r\n")
    decision = talk.client_sends(b"STARTTLS\r\n")
    assert decision.verdict is Verdict.ACCEPT
    to_client, to_server = (decode(forged.data) for forged in decision.forged)
    assert to_client is not None and to_server is not None
    assert (to_client.src, to_client.seq, to_client.flags) == (
        SERVER,
        talk.seq[Direction.SERVER_TO_CLIENT],
        wire.RST,
    )
    assert (to_server.src, to_server.seq, to_server.flags) == (
        CLIENT,
        talk.seq[Direction.CLIENT_TO_SERVER],
        wire.RST,
    )
    assert kinds(decision) == ["rule_matched", "packet_forged", "packet_forged"]


def test_starttls_split_over_segments_still_matches() -> None:
    """A command cut in two by segmentation is one command."""
    talk = Talk(engine_for(rule(STARTTLS))).connect()
    assert not talk.client_sends(b"START").forged
    assert len(talk.client_sends(b"TLS\r\n").forged) == 2


def test_starttls_split_is_missed_without_reassembly() -> None:
    """A box that does not join segments does not see a command that is cut in two (Bock20: SMTP box of the GFW)."""
    talk = Talk(engine_for(rule(STARTTLS), reassembly=Reassembly.NONE)).connect()
    assert not talk.client_sends(b"START").forged
    assert not talk.client_sends(b"TLS\r\n").forged
    assert len(talk.client_sends(b"STARTTLS\r\n").forged) == 2


def test_other_port_is_handed_to_the_kernel_at_once() -> None:
    """A connection that no rule can match leaves user space with its first packet and is not remembered."""
    engine = engine_for(rule(STARTTLS))
    decision = Talk(engine, server_port=80).client_sends(flags="S")
    assert decision.offload is Offload.PASS
    assert decision.events == ()
    assert engine.flows == 0


def test_tls_on_all_ports_lets_go_of_what_is_not_tls() -> None:
    """The first bytes of the client that are not TLS decide the whole connection."""
    engine = engine_for(rule('tls.handshake.extensions_server_name contains "blocked"'))
    talk = Talk(engine, server_port=5201).connect()
    assert talk.client_sends(b"0123456789abcdef-this-is-iperf").offload is Offload.PASS
    assert engine.flows == 0


def test_hello_behind_starttls_matches_though_only_tls_is_wanted() -> None:
    """A rule on the ClientHello of port 587 needs what the server says too: only its 220 tells when TLS begins."""
    when = 'tcp.dstport == 587 and tls.handshake.extensions_server_name == "mail.example"'
    talk = Talk(engine_for(rule(when))).connect()
    assert talk.server_sends(b"220 mail.example ESMTP\r\n").offload is Offload.NONE
    assert talk.client_sends(b"DATA\r\n").offload is Offload.NONE
    assert talk.server_sends(b"503 first MAIL\r\n").offload is Offload.NONE  # so what follows is no message
    talk.client_sends(b"STARTTLS\r\n")
    assert talk.server_sends(b"220 go ahead\r\n").offload is Offload.NONE
    assert len(talk.client_sends(record(22, client_hello("mail.example"))).forged) == 2
    assert talk.server_sends(record(22, server_hello())).offload is not Offload.NONE


def test_name_in_a_datagram_matches_and_other_datagrams_are_let_go() -> None:
    """A rule on the name in a DNS query reads UDP on port 53; UDP elsewhere leaves user space with its first packet."""
    engine = engine_for(rule('dns.qry.name == "blocked.example"', (Log(),)))

    def sends(name: str, port: int) -> Decision:
        query = (
            IP(src="192.0.2.11", dst="203.0.113.53")
            / UDP(sport=40000, dport=port)
            / DNS(qd=[DNSQR(qname=name)])
        )
        return engine.handle(bytes(query), 0, Side.INSIDE)

    assert "rule_matched" in kinds(sends("blocked.example", 53))
    assert sends("other.example", 53).offload is Offload.NONE
    assert sends("blocked.example", 5300).offload is Offload.PASS


def test_client_of_two_high_udp_ports_is_who_sent_first() -> None:
    """Which of two high ports is lower says nothing about who asked whom."""
    engine = engine_for(rule("udp.dstport == 51820", (Log(),)))
    data = IP(src="192.0.2.11", dst="203.0.113.53") / UDP(sport=40000, dport=51820) / Raw(b"x")
    matched = next(e for e in engine.handle(bytes(data), 0, Side.INSIDE).events if e.kind == "rule_matched")
    assert matched.as_json()["flow"]["client_port"] == 40000


def test_payload_keyword_is_found_across_segments_and_out_of_order() -> None:
    """A keyword cut anywhere, in segments that arrive in any order, is seen when its last byte is there."""
    talk = Talk(engine_for(rule('tcp.payload contains "ultrasurf"')), server_port=80).connect()
    start = talk.seq[Direction.CLIENT_TO_SERVER]
    assert not talk.client_sends(b"GET /ult").forged
    assert not talk.client_sends(b"rf HTTP", seq=start + 12).forged
    assert len(talk.client_sends(b"rasu", seq=start + 8).forged) == 2


def test_payload_keyword_in_one_segment_matches_once() -> None:
    """The next segment does not match again because of what stood before it."""
    talk = Talk(engine_for(rule('tcp.payload contains "ultrasurf"')), server_port=80).connect()
    assert talk.client_sends(b"GET /ultrasurf").forged
    assert not talk.client_sends(b" HTTP/1.1\r\n").forged


def test_in_path_drop_drops_retransmissions_too() -> None:
    """What was dropped once is dropped when it is sent again; other data passes."""
    talk = Talk(engine_for(rule(STARTTLS, (Drop(),)), placement=Placement.IN_PATH)).connect()
    before = talk.seq[Direction.CLIENT_TO_SERVER]
    assert talk.client_sends(b"STARTTLS\r\n").verdict is Verdict.DROP
    again = talk.client_sends(b"STARTTLS\r\n", seq=before)
    assert again.verdict is Verdict.DROP
    assert kinds(again) == ["packet_dropped"]
    assert talk.client_sends(b"QUIT\r\n").verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("scope", "reply"), [(DropScope.DIRECTION, Verdict.ACCEPT), (DropScope.FLOW, Verdict.DROP)]
)
def test_in_path_drop_scope_decides_about_the_other_direction(scope: DropScope, reply: Verdict) -> None:
    """drop: direction silences the sender of the trigger, drop: flow both; the kernel is told to keep it up."""
    talk = Talk(engine_for(rule(STARTTLS, (Drop(scope),)), placement=Placement.IN_PATH)).connect()
    talk.client_sends(b"STARTTLS\r\n")
    later = talk.client_sends(b"QUIT\r\n")
    assert later.verdict is Verdict.DROP
    assert later.offload & Offload.DROP_CLIENT_TO_SERVER
    assert talk.server_sends(b"220 ready\r\n").verdict is reply


def test_on_path_never_drops() -> None:
    """Whatever an on-path box does, the original passes."""
    engine = engine_for(rule("tcp", (Log(), *RESET_BOTH)))
    talk = Talk(engine).connect()
    for payload in (b"a", b"STARTTLS\r\n", b"\x16\x03\x01"):
        assert talk.client_sends(payload).verdict is Verdict.ACCEPT


def test_log_only_writes_down() -> None:
    """log changes nothing on the wire."""
    decision = Talk(engine_for(rule(STARTTLS, (Log(),)))).connect().client_sends(b"STARTTLS\r\n")
    assert decision.forged == ()
    assert kinds(decision) == ["rule_matched"]


def test_probability_is_the_share_that_acts() -> None:
    """A rule that fires in 88 of 100 cases leaves the others alone, and says so in the ground truth (FOCI21)."""
    engine = engine_for(rule(STARTTLS, probability=0.882))
    acted = 0
    for port in range(2000):
        decision = Talk(engine, port=10000 + port).connect().client_sends(b"STARTTLS\r\n")
        (matched,) = [event for event in decision.events if event.kind == "rule_matched"]
        assert matched.details["acted"] is bool(decision.forged)
        acted += bool(decision.forged)
    # standard deviation of 2000 tries at .882 is 0.0072: five of them
    assert abs(acted / 2000 - 0.882) < 0.036


def test_residual_punishes_the_same_key_until_its_end() -> None:
    """After a hit any packet between the two hosts is answered, until the time is over; others are left alone."""
    residual = Residual((KeyPart.INSIDE_IP, KeyPart.OUTSIDE_IP), 90 * SECOND_NS, False, RESET_BOTH)
    engine = engine_for(rule(STARTTLS, residual=residual))
    assert "residual_started" in kinds(Talk(engine).connect().client_sends(b"STARTTLS\r\n"))
    later = Talk(engine, port=40001, server_port=80)
    later.now_ns = 89 * SECOND_NS
    assert "residual_hit" in kinds(later.client_sends(flags="S"))
    bystander = Talk(engine, client=OTHER, port=40002, server_port=80)
    bystander.now_ns = 89 * SECOND_NS
    assert bystander.client_sends(flags="S").forged == ()
    assert engine.next_change_ns == 90 * SECOND_NS
    assert [event.kind for event in engine.advance(90 * SECOND_NS)] == ["residual_ended"]
    after = Talk(engine, port=40003, server_port=80)
    after.now_ns = 90 * SECOND_NS
    assert after.client_sends(flags="S").forged == ()


@pytest.mark.parametrize("refresh", [False, True])
def test_residual_refresh_starts_the_time_anew(*, refresh: bool) -> None:
    """Only a box that refreshes its timer still punishes after the first duration is over."""
    residual = Residual((KeyPart.CLIENT_IP,), 60 * SECOND_NS, refresh, RESET_BOTH)
    engine = engine_for(rule(STARTTLS, residual=residual))
    Talk(engine).connect().client_sends(b"STARTTLS\r\n")
    punished = []
    for second in (50, 100):
        talk = Talk(engine, port=41000 + second, server_port=80)
        talk.now_ns = second * SECOND_NS
        engine.advance(talk.now_ns)
        punished.append(bool(talk.client_sends(flags="S").forged))
    assert punished == [True, refresh]


def test_residual_start_takes_connections_back_from_the_kernel() -> None:
    """A connection that was handed to the kernel can be punished too, so what the kernel was told counts no more."""
    residual = Residual((KeyPart.CLIENT_IP,), SECOND_NS, False, RESET_BOTH)
    engine = engine_for(rule(STARTTLS, residual=residual))
    talk = Talk(engine).connect()
    before = engine.generation
    talk.client_sends(b"STARTTLS\r\n")
    assert engine.generation != before


def test_state_from_syn_ignores_a_connection_first_seen_in_the_middle() -> None:
    """A box that needs a SYN does not look at data without one (SP25); one that does not, does."""
    assert not Talk(engine_for(rule(STARTTLS), state_from=StateFrom.SYN)).client_sends(b"STARTTLS\r\n").forged
    assert Talk(engine_for(rule(STARTTLS), state_from=StateFrom.ANY)).client_sends(b"STARTTLS\r\n").forged


def test_handshake_knob_needs_all_three_steps() -> None:
    """A box that wants a whole handshake does not act after SYN and data alone (Wu23 section 4.5)."""
    engine = engine_for(rule(STARTTLS), handshake=True)
    half_open = Talk(engine)
    half_open.client_sends(flags="S")
    assert not half_open.client_sends(b"STARTTLS\r\n").forged
    assert Talk(engine, port=40001).connect().client_sends(b"STARTTLS\r\n").forged


@pytest.mark.parametrize("checks", [True, False])
def test_checksum_knob_decides_about_a_bad_checksum(*, checks: bool) -> None:
    """A segment that no end would take is read by a box that does not check (Wang17 table 3)."""
    engine = engine_for(rule(STARTTLS), checks_checksum=checks)
    good = tcp_segment(
        src=CLIENT, dst=SERVER, sport=40000, dport=587, seq=1, ack=1, flags=wire.ACK, window=1, ttl=9,
        payload=b"STARTTLS\r\n",
    )  # fmt: skip
    bad = good[:36] + bytes([good[36] ^ 0x55]) + good[37:]
    assert bool(engine.handle(bad, 0, Side.INSIDE).forged) is not checks
    assert bool(engine.handle(good, 0, Side.INSIDE).forged) is checks


def test_subscriber_without_profile_is_left_alone() -> None:
    """Two SIMs, the same moment, the same server: one blocked, one not."""
    blocked = profile(rule(STARTTLS))
    deployment = Deployment(
        "two-sims",
        (Phase(0, blocked),),
        (Subscriber("sim2", (ip_network("192.0.2.12/32"),), (Phase(0, None),)),),
    )
    engine = Engine(deployment, Random(1), 0)
    assert Talk(engine).connect().client_sends(b"STARTTLS\r\n").forged
    other = Talk(engine, client=OTHER)
    assert other.client_sends(flags="S").offload is Offload.PASS
    assert not other.client_sends(b"STARTTLS\r\n").forged


def test_timeline_changes_what_applies_to_connections_under_way() -> None:
    """The firmware upgrade: nothing before, blocked after, on a connection that was open all the time."""
    deployment = Deployment("t", (Phase(0, None), Phase(60 * SECOND_NS, profile(rule(STARTTLS)))))
    engine = Engine(deployment, Random(1), 0)
    talk = Talk(engine).connect()
    assert not talk.client_sends(b"STARTTLS\r\n").forged
    before = engine.generation
    assert engine.next_change_ns == 60 * SECOND_NS
    (changed,) = engine.advance(60 * SECOND_NS)
    assert (changed.kind, changed.details["profile"]) == ("profile_changed", "test")
    assert engine.generation != before
    assert talk.client_sends(b"STARTTLS\r\n").forged


def test_reload_judges_open_connections_by_the_new_profile() -> None:
    """After a reload the next packet of an old connection is judged by the new rules."""
    engine = engine_for(rule(STARTTLS))
    talk = Talk(engine).connect()
    (changed,) = engine.reload(
        Deployment("new", (Phase(0, profile(rule('smtp.command_line matches "^QUIT"'))),)), 5
    )
    assert (changed.kind, changed.details["cause"]) == ("profile_changed", "reload")
    assert not talk.client_sends(b"STARTTLS\r\n").forged
    assert talk.client_sends(b"QUIT\r\n").forged


def test_ports_used_again_are_another_connection() -> None:
    """A SYN with other numbers, or data far away, on remembered ports starts from the beginning."""
    engine = engine_for(rule(STARTTLS))
    Talk(engine).connect().client_sends(b"STAR")
    again = Talk(engine)
    again.seq[Direction.CLIENT_TO_SERVER] = 3_000_000_000
    assert again.client_sends(b"STARTTLS\r\n").forged


def test_kernel_knows_that_ports_are_used_again() -> None:
    """What conntrack calls the first packet of a connection starts from the beginning, however near its numbers are."""
    engine = engine_for(rule(STARTTLS))
    talk = Talk(engine).connect()
    talk.client_sends(b"STAR")
    again = tcp_segment(
        src=CLIENT, dst=SERVER, sport=40000, dport=587, seq=talk.seq[Direction.CLIENT_TO_SERVER] + 50, ack=1,
        flags=wire.ACK, window=1, ttl=9, payload=b"STARTTLS\r\n",
    )  # fmt: skip
    assert engine.handle(again, 0, Side.INSIDE, Direction.CLIENT_TO_SERVER, first=True).forged


def test_kernel_knows_who_opened_a_connection() -> None:
    """Where conntrack knows the client, the ports do not have to be guessed from."""
    engine = engine_for(rule('tcp.payload contains "x" and flow.direction == "client-to-server"'))
    talk = Talk(engine, port=100, server_port=9999)
    data = tcp_segment(
        src=CLIENT, dst=SERVER, sport=talk.port, dport=talk.server_port, seq=1, ack=1, flags=wire.ACK, window=1,
        ttl=9, payload=b"x",
    )  # fmt: skip
    assert engine.handle(data, 0, Side.INSIDE, Direction.CLIENT_TO_SERVER, first=True).forged


def test_connection_first_seen_from_its_server_has_the_right_client() -> None:
    """Picking up in the middle with a packet of the server does not swap the ends: the lower port is the server."""
    talk = Talk(engine_for(rule("smtp.response.code == 220")))
    decision = talk.server_sends(b"220 mail.example ESMTP\r\n")
    (matched,) = [event for event in decision.events if event.kind == "rule_matched"]
    assert matched.as_json()["flow"]["server_port"] == 587
    assert matched.details["direction"] == "server-to-client"


def test_undecodable_bytes_pass_and_are_counted() -> None:
    """What is no packet is let through."""
    engine = engine_for(rule(STARTTLS))
    assert engine.handle(b"\x45garbage", 0, Side.INSIDE).verdict is Verdict.ACCEPT
    assert engine.undecoded == 1


def test_flow_seen_is_said_once_for_a_flow_that_a_rule_could_match() -> None:
    """Ground truth names each connection under watch, once."""
    talk = Talk(engine_for(rule(STARTTLS)))
    assert kinds(talk.client_sends(flags="S")) == ["flow_seen"]
    assert kinds(talk.server_sends(flags="SA")) == []


def test_same_packets_same_seed_same_decisions() -> None:
    """Nothing but packets, time and seed decides."""

    def run() -> list[bytes]:
        engine = engine_for(rule(STARTTLS, probability=0.5))
        forged = []
        for port in range(50):
            forged += Talk(engine, port=10000 + port).connect().client_sends(b"STARTTLS\r\n").forged
        return [f.data for f in forged]

    assert run() == run()
