"""A capture through the engine: every kind of file in, the right packets out, in the order of their times."""

from __future__ import annotations

import json
from ipaddress import ip_network
from pathlib import Path
from random import Random
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.utils import rdpcap

from middlebox.capturefile import CaptureWriter
from middlebox.decision import PASS, Decision, Forged, Offload, Verdict
from middlebox.engine import Engine
from middlebox.eventlog import EventLog
from middlebox.filters import compile_filter
from middlebox.flow import Direction, Side
from middlebox.load import PROFILES, load_deployment
from middlebox.profile import Deployment, Log, Phase, Placement, Profile, Rule
from middlebox.replay import Sides, main, replay
from tests.unit.recording import CLIENT, SERVER, START_S, talk, write

IN_PATH = """
profile: test
title: Test
placement: in-path
source: chosen
rules:
  - name: drop-word
    when: tcp.payload contains "forbidden"
    do: [drop]
"""
EVERY_PACKET = (Rule("all", compile_filter("frame.len > 0"), (Log(),)),)


class Scripted:
    """An engine that answers what it is told to, packet by packet, and remembers what it was shown."""

    next_change_ns: int | None = None
    punishing = False
    deployments = (Deployment("all", (Phase(0, Profile("all", "", Placement.IN_PATH, EVERY_PACKET)),)),)
    undecoded = 0

    def __init__(self, *answers: Decision | Exception) -> None:
        self.generation = 1
        self.shown: list[tuple[bytes, int, Side]] = []
        self._answers = list(answers)

    def handle(
        self, data: bytes, now_ns: int, ingress: Side, sent_by: Direction | None, *, first: bool
    ) -> Decision:
        self.shown.append((data, now_ns, ingress))
        answer = self._answers.pop(0) if self._answers else PASS
        if isinstance(answer, Exception):
            raise answer
        return answer

    def lead(self, data: bytes, now_ns: int, ingress: Side) -> Decision:
        return PASS

    def advance(self, now_ns: int) -> tuple[()]:
        self.next_change_ns = None
        self.shown.append((b"advance", now_ns, Side.INSIDE))
        return ()


def run(source: Path, engine: Any, output: Path | None = None, **options: Any) -> Any:
    if output is None:
        return replay(source, engine, **options)
    with CaptureWriter(output) as writer:
        return replay(source, engine, output=writer, **options)


# --- sides ------------------------------------------------------------------------------------------------------------


def packet_bytes(src: str, dst: str, flags: str = "A", sport: int = 40000, dport: int = 80) -> bytes:
    layer = IPv6 if ":" in src else IP
    return bytes(layer(src=src, dst=dst) / TCP(sport=sport, dport=dport, flags=flags))


@pytest.mark.parametrize("outside", ["8.8.8.8", "203.0.113.25"])
@pytest.mark.parametrize("inside", ["10.1.2.3", "172.31.0.1", "192.168.7.7", "100.64.0.1", CLIENT])
def test_inside_addresses_tell_the_side(inside: str, outside: str) -> None:
    """Private addresses and the lab's subscribers are inside, whoever speaks first."""
    assert Sides().side_of(packet_bytes(outside, inside, "SA")) is Side.OUTSIDE
    assert Sides().side_of(packet_bytes(inside, outside, "S")) is Side.INSIDE
    assert Sides().side_of(packet_bytes("2001:db8:3::1", "2001:db8:1::1")) is Side.OUTSIDE


@pytest.mark.parametrize(
    ("flags", "sport", "dport", "side"),
    [("S", 80, 40000, Side.INSIDE), ("SA", 40000, 80, Side.OUTSIDE), ("A", 80, 40000, Side.OUTSIDE),
     ("A", 40000, 80, Side.INSIDE)],
)  # fmt: skip
def test_two_unknown_addresses_are_told_by_their_first_packet(
    flags: str, sport: int, dport: int, side: Side
) -> None:
    """Who sends the SYN, or to the lower port, is inside; the pair keeps its sides."""
    sides = Sides()
    first = packet_bytes("198.51.100.1", "203.0.113.1", flags, sport, dport)
    assert sides.side_of(first) is side
    assert sides.side_of(packet_bytes("203.0.113.1", "198.51.100.1", "S")) is side.opposite


def test_named_networks_replace_the_usual_ones() -> None:
    """`--inside` is the whole truth."""
    sides = Sides([ip_network("203.0.113.0/24")])
    assert sides.side_of(packet_bytes("192.168.1.1", "203.0.113.1")) is Side.OUTSIDE


@pytest.mark.parametrize("data", [b"\x45", b"\x60" + bytes(20), b"\x00" * 60])
def test_no_packet_has_a_side_too(data: bytes) -> None:
    """Any bytes: an answer, no exception."""
    assert Sides().side_of(data) in Side


# --- through the engine -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_forged_packets_are_put_in_behind_their_trigger(tmp_path: Path, ipv6: bool) -> None:
    """The incident from a capture: both RSTs follow the STARTTLS, in its frame's link layer, with a comment."""
    source = write(tmp_path / "in.pcap", talk(ipv6=ipv6))
    engine = Engine(load_deployment("tmobile-uk-2012"), Random(1), START_S * 10**9)
    result = run(source, engine, tmp_path / "out.pcapng")
    assert (result.packets, result.forged, result.dropped) == (8, 2, 0)
    packets = rdpcap(str(tmp_path / "out.pcapng"))
    assert " ".join(str(packet[TCP].flags) for packet in packets) == "S SA A PA PA PA PA R R A"
    trigger, resets = packets[6], packets[7:9]
    assert trigger.comment.decode() == "TRIGGER of rule tmobile-uk-2012/reset-both-on-starttls (reset)"
    for reset in resets:
        towards = "server" if reset[TCP].dport == 587 else "client"
        assert reset.dst == (trigger.dst if towards == "server" else trigger.src)
        by = "FORGED by tmobile-uk-2012/reset-both-on-starttls"
        seq = trigger[TCP].seq
        assert reset.comment.decode() == f"{by}, towards {towards}, trigger PA seq {seq} length 10"
    assert [packet.time for packet in packets] == sorted(packet.time for packet in packets)


def test_dropped_packets_are_left_out(tmp_path: Path) -> None:
    """What an in-path box does not let pass is not in the resulting capture."""
    profile = tmp_path / "in-path.yaml"
    profile.write_text(IN_PATH)
    words = [b"allowed", b"forbidden", b"allowed again"]
    packets = talk(link=IP)[:3]
    seq = 1001
    for word in words:
        packets.append(
            IP(src=CLIENT, dst=SERVER) / TCP(sport=40000, dport=587, flags="PA", seq=seq, ack=5001) / word
        )
        seq += len(word)
    source = write(tmp_path / "in.pcap", packets, linktype=101)
    engine = Engine(load_deployment(str(profile)), Random(1), 0)
    with EventLog(tmp_path / "e.jsonl") as log:
        result = run(source, engine, tmp_path / "out.pcapng", log=log)
    assert result.dropped == 1
    passed = [bytes(p[TCP].payload) for p in rdpcap(str(tmp_path / "out.pcapng"))]
    assert [payload for payload in passed if payload] == [b"allowed", b"allowed again"]
    kinds = [json.loads(line)["event"] for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert "packet_dropped" in kinds


def test_delayed_forgery_stands_at_its_time(tmp_path: Path) -> None:
    """A forged packet of the future is put in between the packets of its time; the last ones come at the end."""
    source = write(tmp_path / "in.pcap", talk(link=IP), linktype=101)
    made = [bytes(IP(src=SERVER, dst=CLIENT) / TCP(seq=n)) for n in (1, 2)]
    begin = START_S * 10**9
    engine = Scripted(
        Decision(forged=(Forged(made[1], begin + 10**10), Forged(made[0], begin + 250_000_000)))
    )
    run(source, engine, tmp_path / "out.pcapng")
    packets = [bytes(packet) for packet in rdpcap(str(tmp_path / "out.pcapng"))]
    assert packets.index(made[0]) == 3
    assert packets.index(made[1]) == 9


def test_replaced_and_held_packets_go_on_changed_and_later(tmp_path: Path) -> None:
    """What goes on instead of a packet stands in its frame; what is held stands at its new time."""
    packets = talk()
    source = write(tmp_path / "in.pcap", packets)
    instead = bytes(packets[1])[14:-4] + b"else"
    begin = START_S * 10**9
    engine = Scripted(PASS, Decision(replacement=instead, hold_until_ns=begin + 350_000_000))
    result = run(source, engine, tmp_path / "out.pcapng")
    assert (result.rewritten, result.held, result.dropped) == (1, 1, 0)
    assert result.summary() == (
        "8 packets (0 other frames), 0 forged, 0 dropped, 1 rewritten, 1 held, 0 redirected, 0 throttled"
    )
    frames = [bytes(packet) for packet in rdpcap(str(tmp_path / "out.pcapng"))]
    assert [frames.index(bytes(packets[number])) for number in (0, 2, 3, 4)] == [0, 1, 2, 4]
    assert frames[3] == bytes(packets[1])[:14] + instead


def test_other_frames_are_copied(tmp_path: Path) -> None:
    """ARP is nobody's business here, and stays."""
    arp = Ether() / ARP()
    source = write(tmp_path / "in.pcap", [arp, *talk()])
    engine = Scripted()
    result = run(source, engine, tmp_path / "out.pcapng")
    assert result.others == 1
    assert len(engine.shown) == len(talk())
    assert bytes(rdpcap(str(tmp_path / "out.pcapng"))[0]) == bytes(arp)


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_redirected_connection_is_written_down_and_stays_as_it_is(tmp_path: Path, ipv6: bool) -> None:
    """What a live box would have done stands in the events and at the first packet; a capture cannot be led away."""
    packets = talk(ipv6=ipv6, server_port=25)
    source = write(tmp_path / "in.pcap", packets)
    engine = Engine(load_deployment("port-25-redirect"), Random(1), 0)
    with EventLog(tmp_path / "e.jsonl") as log:
        result = run(source, engine, tmp_path / "out.pcapng", log=log)
    assert (result.redirected, result.dropped, result.rewritten) == (1, 0, 0)
    matched, redirected = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert (matched["event"], matched["trigger"]["flags"]) == ("rule_matched", "S")
    assert redirected["event"] == "connection_redirected"
    assert redirected["flow"]["server"] == packets[0].payload.dst
    to = "2001:db8:3::26" if ipv6 else "203.0.113.26"
    assert (redirected["to"], redirected["to_port"]) == (to, 25)
    written = rdpcap(str(tmp_path / "out.pcapng"))
    assert [bytes(packet) for packet in written] == [bytes(packet) for packet in packets]
    assert written[0].comment.decode() == (
        "TRIGGER of rule port-25-redirect/lead-to-own-server (redirect); "
        f"REDIRECTED by port-25-redirect/lead-to-own-server: led to {to} port 25"
    )


def test_connection_that_was_let_go_is_not_shown_again(tmp_path: Path) -> None:
    """As in a live box: after PASS neither direction comes back, other connections do."""
    other = talk(server_port=25)
    packets = [packet for pair in zip(talk(), other, strict=True) for packet in pair]
    engine = Scripted(PASS, PASS, Decision(offload=Offload.PASS))
    result = run(write(tmp_path / "in.pcap", packets), engine)
    assert result.packets == 16
    assert len(engine.shown) == 2 + 8


def test_one_decided_direction_is_still_shown(tmp_path: Path) -> None:
    """A capture does not tell who the client is: only a whole connection is let go."""
    engine = Scripted(Decision(offload=Offload.PASS_CLIENT_TO_SERVER))
    run(write(tmp_path / "in.pcap", talk()), engine)
    assert len(engine.shown) == 8


@pytest.mark.parametrize("ipv6", [False, True], ids=["ipv4", "ipv6"])
def test_new_connection_with_the_same_ports_is_shown(tmp_path: Path, ipv6: bool) -> None:
    """A SYN begins anew, and the answers to it are shown too."""
    packets = talk(ipv6=ipv6) * 2
    engine = Scripted(Decision(offload=Offload.PASS))
    run(write(tmp_path / "in.pcap", packets), engine)
    assert [data for data, _, _ in engine.shown[1:]] == [bytes(packet)[14:] for packet in talk(ipv6=ipv6)]


def test_new_generation_brings_back_what_was_let_go(tmp_path: Path) -> None:
    """When the rules change, every connection is looked at again."""
    engine = Scripted(PASS, Decision(offload=Offload.PASS))
    engine.next_change_ns = START_S * 10**9 + 550_000_000

    def advance(now_ns: int) -> tuple[()]:
        engine.generation += 1
        return Scripted.advance(engine, now_ns)

    engine.advance = advance  # type: ignore[method-assign]
    run(write(tmp_path / "in.pcap", talk()), engine)
    assert [data == b"advance" for data, _, _ in engine.shown] == [False, False, True, False, False]


def test_engine_error_lets_the_packet_pass_and_makes_the_result_invalid(tmp_path: Path) -> None:
    """A bug is written down with the packet; the capture goes on."""
    source = write(tmp_path / "in.pcap", talk())
    with EventLog(tmp_path / "e.jsonl") as log:
        result = run(source, Scripted(PASS, ValueError("a bug")), tmp_path / "out.pcapng", log=log)
    assert not result.valid
    assert len(rdpcap(str(tmp_path / "out.pcapng"))) == 8
    (event,) = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    assert event["event"] == "engine_error"
    assert bytes.fromhex(event["packet"]) == bytes(talk()[1])[14:]


def test_time_does_not_step_back(tmp_path: Path) -> None:
    """Frames of several interfaces may be out of order by a little; the engine's clock never is."""
    packets = talk()
    packets[3], packets[4] = packets[4], packets[3]
    engine = Scripted()
    run(write(tmp_path / "in.pcap", packets), engine)
    times = [now_ns for _, now_ns, _ in engine.shown]
    assert times == sorted(times)


# --- the command ------------------------------------------------------------------------------------------------------


def test_command_says_how_many_connections_it_throttled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nothing is dropped, only this word tells that the box has done something."""
    box = tmp_path / "box.yaml"
    box.write_text(
        IN_PATH.replace("[drop]", "[{throttle: {rate: 100kbit}}]").replace("forbidden", "STARTTLS")
    )
    source = write(tmp_path / "in.pcap", [*talk(), *talk(ipv6=True)])
    assert main([str(source), "-p", str(box), "-o", str(tmp_path / "out.pcapng")]) == 0
    assert capsys.readouterr().out.startswith(
        "16 packets (0 other frames), 0 forged, 0 dropped, 0 rewritten, 0 held, 0 redirected, 2 throttled\n"
    )


def test_command_writes_capture_and_events(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`tamperlab replay` says what it did and where; the log has the shape of a live run's."""
    source = write(tmp_path / "in.pcap", talk())
    out = tmp_path / "out.pcapng"
    assert main([str(source), "-p", "tmobile-uk-2012", "-o", str(out)]) == 0
    assert "2 forged" in capsys.readouterr().out
    logged = [json.loads(line) for line in (tmp_path / "out.events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in logged] == [
        "run_started", "flow_seen", "rule_matched", "packet_forged", "packet_forged", "run_ended",
    ]  # fmt: skip
    assert len(rdpcap(str(out))) == 10
    times = [e["time_ns"] for e in logged]
    assert times == sorted(times)
    assert times[-1] - times[0] == 700_000_000  # eight packets, a tenth of a second between them


def test_command_with_two_profiles_puts_one_box_behind_the_other(tmp_path: Path) -> None:
    """Both answer the same STARTTLS, the inner one first, and the log bears both names."""
    source = write(tmp_path / "in.pcap", talk())
    second = tmp_path / "second.yaml"
    second.write_text((PROFILES / "tmobile-uk-2012.yaml").read_text().replace("tmobile-uk-2012", "second"))
    out = tmp_path / "out.pcapng"
    assert main([str(source), "-p", "tmobile-uk-2012", "-p", str(second), "-o", str(out)]) == 0
    logged = [json.loads(line) for line in (tmp_path / "out.events.jsonl").read_text().splitlines()]
    assert logged[0]["profile"] == "tmobile-uk-2012 + second"
    assert [e["profile"] for e in logged if e["event"] == "rule_matched"] == ["tmobile-uk-2012", "second"]


@pytest.mark.parametrize(
    ("capture", "profile", "message"),
    [
        ("missing.pcap", "tmobile-uk-2012", "missing.pcap"),
        ("bad.pcap", "tmobile-uk-2012", "expected a capture"),
        ("bad.pcap", "no-such-profile", "no-such-profile"),
    ],
)
def test_bad_file_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], capture: str, profile: str, message: str
) -> None:
    """Nothing is written when the input is no good."""
    (tmp_path / "bad.pcap").write_bytes(b"no capture at all")
    out = tmp_path / "out.pcapng"
    assert main([str(tmp_path / capture), "-p", profile, "-o", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_drop_verdict_of_a_scripted_engine_counts(tmp_path: Path) -> None:
    """Dropped frames are counted and absent."""
    source = write(tmp_path / "in.pcap", talk())
    result = run(source, Scripted(Decision(Verdict.DROP)), tmp_path / "out.pcapng")
    assert result.dropped == 1
    assert len(rdpcap(str(tmp_path / "out.pcapng"))) == 7
