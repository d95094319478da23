"""What a box remembers and for how long: idle connections, sentences that take a while to begin, dropped bytes."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from middlebox.decision import Verdict
from middlebox.engine import Engine
from middlebox.filters import compile_filter
from middlebox.flow import Side
from middlebox.kernel import sysctls
from middlebox.packet import UDP_HEADER_BYTES, ip_header
from middlebox.profile import (
    Case,
    Deployment,
    Drop,
    DropScope,
    KeyPart,
    Log,
    Mark,
    Phase,
    Placement,
    Profile,
    Residual,
    TcpReading,
)
from middlebox.wants import plan_for
from tests.unit.talk import CLIENT, SECOND_NS, SERVER, Talk, engine_for, kinds, profile, rule

HOSTS_AND_PORT = (KeyPart.CLIENT_IP, KeyPart.SERVER_IP, KeyPart.SERVER_PORT)
FOUR_TUPLE = (*HOSTS_AND_PORT, KeyPart.CLIENT_PORT)
DROP_DIRECTION = (Drop(DropScope.DIRECTION),)
KEYWORD = 'tcp.payload contains "ultrasurf"'


def drops(when: str, seconds: int, *, after_s: float = 0, refresh: bool = False) -> Residual:
    cases = (Case(compile_filter(when), DROP_DIRECTION),)
    return Residual(
        FOUR_TUPLE, seconds * SECOND_NS, refresh, (), cases=cases, after=round(after_s * SECOND_NS)
    )


def test_sentence_with_after_lets_everything_pass_until_then() -> None:
    """A second of grace (GEN-esni), then the client's packets are dropped and the server's pass, then it is over."""
    residual = Residual(HOSTS_AND_PORT, 120 * SECOND_NS, False, DROP_DIRECTION, after=SECOND_NS)
    engine = engine_for(rule(KEYWORD, (Log(),), residual=residual), placement=Placement.IN_PATH)
    talk = Talk(engine).connect()
    assert talk.client_sends(b"ultrasurf").verdict is Verdict.ACCEPT
    later = Talk(engine, port=40001)
    verdicts = {}
    for second in (0.9, 1.1, 119.9, 120.1):
        later.now_ns = round(second * SECOND_NS)
        verdicts[second] = later.client_sends(flags="A").verdict
        assert later.server_sends(flags="A").verdict is Verdict.ACCEPT
    assert list(verdicts.values()) == [Verdict.ACCEPT, Verdict.DROP, Verdict.DROP, Verdict.ACCEPT]


def test_sentence_that_has_not_begun_is_not_begun_again() -> None:
    """A second trigger while the box takes its time does not put off what the first has begun."""
    residual = Residual(HOSTS_AND_PORT, 120 * SECOND_NS, False, DROP_DIRECTION, after=SECOND_NS)
    engine = engine_for(rule(KEYWORD, (Log(),), residual=residual), placement=Placement.IN_PATH)
    talk = Talk(engine).connect()
    talk.client_sends(b"ultrasurf")
    talk.now_ns = SECOND_NS // 2
    assert "residual_started" not in kinds(talk.client_sends(b"ultrasurf"))
    talk.now_ns = round(1.1 * SECOND_NS)
    assert talk.client_sends(b"more").verdict is Verdict.DROP


def test_bytes_dropped_at_the_start_of_a_sentence_pass_when_it_is_over() -> None:
    """A sentence that drops says for how long; the connection remembers nothing of its own."""
    residual = Residual(FOUR_TUPLE, 60 * SECOND_NS, True, DROP_DIRECTION)
    dropping = rule(KEYWORD, (Drop(),), residual=residual)
    engine = engine_for(dropping, placement=Placement.IN_PATH)
    talk = Talk(engine).connect()
    seq = 1001
    assert talk.client_sends(b"nothing").verdict is Verdict.ACCEPT
    assert talk.client_sends(b"ultrasurf").verdict is Verdict.DROP
    talk.now_ns = 59 * SECOND_NS
    assert talk.client_sends(b"ultrasurf", seq=seq + 7).verdict is Verdict.DROP
    talk.now_ns = 118 * SECOND_NS  # 59 s after the last hit, which has started the time anew
    assert talk.client_sends(flags="A").verdict is Verdict.DROP
    talk.now_ns = 179 * SECOND_NS
    assert talk.client_sends(flags="A").verdict is Verdict.ACCEPT


def test_residual_case_lets_rst_and_fin_pass_and_nothing_else() -> None:
    """As Iran's null route does (GEN-esni); after a FIN the rest is still dropped."""
    residual = drops("tcp.flags.reset == 0 and tcp.flags.fin == 0", 180, refresh=True)
    engine = engine_for(rule(KEYWORD, (Drop(),), residual=residual), placement=Placement.IN_PATH)
    talk = Talk(engine).connect()
    assert talk.client_sends(b"ultrasurf").verdict is Verdict.DROP
    assert [talk.client_sends(flags=f).verdict for f in ("FA", "A", "R", "PA")] == [
        Verdict.ACCEPT, Verdict.DROP, Verdict.ACCEPT, Verdict.DROP,
    ]  # fmt: skip


def test_connection_idle_for_too_long_is_forgotten_with_its_marks() -> None:
    """To the nanosecond, whoever else talks meanwhile."""
    engine = engine_for(
        rule('tcp.payload contains "first"', (Mark("seen"),), name="mark"),
        rule('flow.marks == "seen" and tcp.payload contains "second"', name="reset"),
        idle_ns=60 * SECOND_NS,
    )
    for gap_ns, remembered in ((60 * SECOND_NS - 1, True), (60 * SECOND_NS, False)):
        talk = Talk(engine, port=40000 + remembered).connect()
        talk.client_sends(b"first")
        talk.now_ns += gap_ns
        assert ("packet_forged" in kinds(talk.client_sends(b"second"))) == remembered


def test_data_packets_are_counted_by_direction_and_only_with_payload() -> None:
    """The second packet with payload of the client, whatever the server has said and what was acknowledged."""
    engine = engine_for(rule('flow.direction == "client-to-server" and flow.data_packets == 2', (Log(),)))
    talk = Talk(engine).connect()
    matched = [
        "rule_matched" in kinds(decision)
        for decision in (
            talk.server_sends(b"220 hello\r\n"),
            talk.client_sends(b"one"),
            talk.client_sends(flags="A"),
            talk.server_sends(b"two"),
            talk.client_sends(b"three"),
            talk.client_sends(b"four"),
        )
    ]
    assert matched == [False, False, False, False, True, False]


def test_packets_that_the_box_does_not_take_seriously_are_not_counted() -> None:
    """Before the handshake is complete nothing is data to such a box."""
    engine = engine_for(rule("flow.data_packets == 1 and payload.length > 0", (Log(),)), handshake=True)
    talk = Talk(engine)
    talk.client_sends(flags="S")
    assert "rule_matched" not in kinds(talk.client_sends(b"early"))
    talk.server_sends(flags="SA")
    talk.client_sends(flags="A")
    assert "rule_matched" in kinds(talk.client_sends(b"now"))


def test_hops_taken_are_given_back_to_the_ttl() -> None:
    """The kernel hands a packet over after routing has taken one; a rule sees what the packet came with."""
    box = Profile("test", "", Placement.ON_PATH, (rule("ip.ttl == 61", (Log(),)),))
    engine = Engine(Deployment("test", (Phase(0, box),)), Random(1), 0, hops_taken=1)
    assert "rule_matched" in kinds(Talk(engine).client_sends(flags="S"))  # it is sent with 60


def test_kernel_forgets_datagrams_no_later_than_the_box() -> None:
    """What was let go is looked at again when the box would not know it any more; never longer than usual."""
    for idle_s, unreplied, stream in ((60, "30", "60"), (0.6, "1", "1"), (600, "30", "120")):
        reading = TcpReading(idle_ns=round(idle_s * SECOND_NS))
        box = replace(profile(rule("udp.dstport == 443", (Log(),))), tcp=reading)
        knobs = sysctls(plan_for(Deployment("test", (Phase(0, box),))))
        assert knobs["net/netfilter/nf_conntrack_udp_timeout"] == unreplied
        assert knobs["net/netfilter/nf_conntrack_udp_timeout_stream"] == stream


def test_datagrams_idle_for_too_long_are_a_new_flow() -> None:
    """60 s after its last datagram a flow is looked at again from its first one on (quic-sni)."""
    first = rule("udp and flow.packets == 1", (Log(),), name="first")
    watching = rule('udp.payload contains "watched"', (Log(),), name="watching")
    engine = engine_for(first, watching, idle_ns=60 * SECOND_NS)

    def matched(at_s: int) -> bool:
        body = (40000).to_bytes(2, "big") + (443).to_bytes(2, "big") + b"\0\x0c\0\0data"
        head = ip_header(CLIENT, SERVER, 17, len(body), ttl=60, ip_id=1, dont_fragment=True, tos=0)
        assert len(body) == UDP_HEADER_BYTES + 4
        return "rule_matched" in kinds(engine.handle(head + body, at_s * SECOND_NS, Side.INSIDE))

    assert [matched(s) for s in (0, 59, 118, 178)] == [True, False, False, True]
