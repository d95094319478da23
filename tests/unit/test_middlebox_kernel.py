"""What is queued is what a rule could need, and the text says so in words that iptables knows."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from middlebox import kernel
from middlebox.filters import compile_filter
from middlebox.kernel import Wiring, install_text, refresh_text, remove_text, sysctls
from middlebox.packet import RST, SYN
from middlebox.profile import (
    Deployment,
    Drop,
    KeyPart,
    Log,
    Phase,
    Placement,
    Profile,
    Reassembly,
    Residual,
    Rule,
    StateFrom,
    TcpReading,
)
from middlebox.wants import Plan, Want, plan_for

WIRING = Wiring("inside", "outside")
CAREFREE = TcpReading(ends_on_rst=False)


def deployment(*filters: str, tcp: TcpReading = CAREFREE, residual: Residual | None = None) -> Deployment:
    """A box with one rule for each filter."""
    rules = tuple(
        Rule(f"rule-{number}", compile_filter(text), (Log(),), residual=residual)
        for number, text in enumerate(filters)
    )
    profile = Profile("test", "Test", Placement.IN_PATH, rules, tcp=tcp)
    return Deployment("test", (Phase(0, profile),))


def rules_of(text: str, chain: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"-A {chain} ")]


def queued_by(plan: Plan, *, family: int = 4) -> list[str]:
    """The rules of the box's chain that lead to the queue."""
    lines = rules_of(install_text(plan, WIRING, family=family, generation=1), "TAMPERLAB-BOX")
    return [line for line in lines if line.endswith(("-DATA", "-QUEUE", "-TLS")) and "SYN,ACK" not in line]


def synacks_queued_by(plan: Plan) -> list[str]:
    """The matches of the rules that queue SYN+ACKs for the sake of where a connection begins."""
    rules = rules_of(install_text(plan, WIRING, family=4, generation=1), "TAMPERLAB-BOX")
    start, end = "-A TAMPERLAB-BOX -p tcp --tcp-flags SYN,ACK SYN,ACK", " -j TAMPERLAB-QUEUE"
    return [rule.removeprefix(start).removesuffix(end) for rule in rules if rule.startswith(start)]


def test_no_rule_queues_nothing() -> None:
    """A box without rules, or whose rules can match nothing, costs nothing."""
    for nothing in (Deployment("none", ()), deployment("tcp.dstport == 1 and tcp.dstport == 2")):
        for family in (4, 6):
            text = install_text(plan_for(nothing), WIRING, family=family, generation=1)
            assert "NFQUEUE" not in text
            assert "conntrack" not in text


def test_ports_are_queued_in_both_directions() -> None:
    """The answers of a watched port are needed too, to know what the connection is about."""
    assert queued_by(plan_for(deployment("tcp.dstport == 465 and tls.handshake.type == 1"))) == [
        "-A TAMPERLAB-BOX -p tcp -m multiport --dports 465 -j TAMPERLAB-TLS",
        "-A TAMPERLAB-BOX -p tcp -m multiport --sports 465 -j TAMPERLAB-TLS",
    ]


def test_tls_anywhere_is_looked_for_at_the_beginning_but_after_starttls_later() -> None:
    """Other connections are let go by the kernel at their first payload, those of text protocols are not."""
    assert queued_by(plan_for(deployment('tls.handshake.extensions_server_name contains "x"'))) == [
        "-A TAMPERLAB-BOX -p tcp -m multiport --dports 25,110,143,587 -j TAMPERLAB-DATA",
        "-A TAMPERLAB-BOX -p tcp -m multiport --sports 25,110,143,587 -j TAMPERLAB-DATA",
        "-A TAMPERLAB-BOX -p tcp -j TAMPERLAB-TLS",
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_tls_of_a_box_that_needs_the_syn_queues_the_syn(family: int) -> None:
    """What is looked at only after its SYN must be shown with its SYN (SP25), before its first payload decides."""
    for state in StateFrom:
        plan = plan_for(deployment("tls.handshake.type == 1", tcp=replace(CAREFREE, state_from=state)))
        rules = rules_of(install_text(plan, WIRING, family=family, generation=1), "TAMPERLAB-TLS")
        queues_syn = rules[0].endswith("--tcp-flags SYN SYN -j TAMPERLAB-QUEUE")
        assert queues_syn is (state is not StateFrom.ANY)


def test_synack_says_where_a_connection_begins_whose_payload_is_put_in_order() -> None:
    """One packet more for each such connection, of the watched ports only."""
    plan = plan_for(deployment("tcp.dstport == 80 and http.host"))
    assert synacks_queued_by(plan) == [" -m multiport --dports 80", " -m multiport --sports 80"]
    assert not plan.sees_syn


def test_synack_is_asked_for_before_what_is_empty_goes_on() -> None:
    """Else it would be let pass with the bare ACKs."""
    text = install_text(plan_for(deployment("http.host")), WIRING, family=4, generation=1)
    box = rules_of(text, "TAMPERLAB-BOX")
    (synack,) = [number for number, line in enumerate(box) if "SYN,ACK SYN,ACK" in line]
    (empty,) = [number for number, line in enumerate(box) if "-m bpf" in line]
    assert synack < empty


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("tcp.dstport == 80 and tcp.len > 5", TcpReading()),
        ("http.host", TcpReading(reassembly=Reassembly.NONE)),
        ("http.host", TcpReading(state_from=StateFrom.SYN)),
        ("tcp.dstport == 443 and tls.handshake.type == 1", TcpReading()),
    ],
)
def test_synack_stays_in_the_kernel_where_it_says_nothing_new(text: str, reading: TcpReading) -> None:
    """Nothing is put in order; the SYN says it; or the kernel judges by itself what may be TLS."""
    assert synacks_queued_by(plan_for(deployment(text, tcp=reading))) == []


def test_synack_is_wanted_by_a_box_that_checks_ack_numbers() -> None:
    """What was never sent is known by where the other end began, even if nothing is put in order."""
    reading = TcpReading(checks_ack=True, reassembly=Reassembly.NONE)
    assert synacks_queued_by(plan_for(deployment("tcp.len > 5", tcp=reading))) == [""]


def test_tls_is_looked_for_behind_what_others_want() -> None:
    """Where a rule wants to see a connection, that it is not TLS is no reason to let go of it."""
    plan = plan_for(deployment("tls", "http.host", "tcp.port == 8080 and tcp.payload contains 61"))
    assert [want.tls for want in plan.wants] == sorted(want.tls for want in plan.wants)


def test_box_that_checks_ack_numbers_judges_itself_what_is_tls() -> None:
    """The kernel would take junk with an implausible ACK for the beginning; such a box does not."""
    plan = plan_for(deployment("tls.handshake.type == 1", tcp=TcpReading(checks_ack=True)))
    assert not any(want.tls for want in plan.wants)


@pytest.mark.parametrize("checks", [True, False])
def test_conntrack_checks_checksums_if_the_box_does(checks: bool) -> None:
    """A packet that the box ignores must not decide anything in the kernel, and one that it reads must."""
    plan = plan_for(deployment("tls", tcp=TcpReading(checks_checksum=checks)))
    assert sysctls(plan)["net/netfilter/nf_conntrack_checksum"] == str(int(checks))


def test_no_rule_sets_no_knob() -> None:
    """A box that looks at nothing leaves the namespace as it is."""
    assert sysctls(plan_for(Deployment("none", ()))) == {}


def test_whole_payload_swallows_tls() -> None:
    """Who sees every payload sees TLS too."""
    (want,) = plan_for(deployment("tls", "tcp.payload contains 61")).wants
    assert not want.tls


def test_port_of_either_end_is_asked_for_once() -> None:
    """`tcp.port` selects by source and by destination; one pair of rules covers both."""
    assert len(queued_by(plan_for(deployment("tcp.port == 25 and tcp.len > 0")))) == 2


def test_two_port_conditions_hold_together_in_both_directions() -> None:
    """A rule on both ports does not bring all the traffic of one of them."""
    assert queued_by(plan_for(deployment("tcp.srcport == 5 and tcp.dstport == 6 and tcp.len > 0"))) == [
        "-A TAMPERLAB-BOX -p tcp -m multiport --dports 6 -m multiport --sports 5 -j TAMPERLAB-DATA",
        "-A TAMPERLAB-BOX -p tcp -m multiport --sports 6 -m multiport --dports 5 -j TAMPERLAB-DATA",
    ]


def test_many_ports_are_spread_over_rules_that_iptables_takes() -> None:
    """multiport takes fifteen numbers, a range counts as two."""
    ports = ", ".join(str(port) for port in range(1, 41, 2)) + ", 100..200"
    plan = plan_for(deployment(f"tcp.dstport in {{{ports}}} and tcp.len > 0"))
    listed = [re.search(r"--dports (\S+)", line) for line in queued_by(plan)]
    groups = [match.group(1) for match in listed if match]
    assert len(groups) == 2
    assert all(len(re.split("[,:]", group)) <= 15 for group in groups)
    assert ",".join(groups) == ",".join(str(port) for port in range(1, 41, 2)) + ",100:200"


def test_rule_on_flags_needs_every_segment() -> None:
    """What looks at segments without payload must get them."""
    assert queued_by(plan_for(deployment("tcp.flags.ack == 1"))) == [
        "-A TAMPERLAB-BOX -p tcp -j TAMPERLAB-QUEUE"
    ]


def test_udp_rule_leaves_tcp_alone() -> None:
    """Only the transport that a rule is about is queued."""
    assert queued_by(plan_for(deployment("udp.dstport == 53"))) == [
        "-A TAMPERLAB-BOX -p udp -m multiport --dports 53 -j TAMPERLAB-QUEUE",
        "-A TAMPERLAB-BOX -p udp -m multiport --sports 53 -j TAMPERLAB-QUEUE",
    ]


def test_rule_without_transport_queues_everything() -> None:
    """A rule on addresses sees ICMP too."""
    lines = queued_by(plan_for(deployment("ip.addr == 192.0.2.0/24")))
    assert [line.split(maxsplit=2)[2] for line in lines] == [
        "-p tcp -j TAMPERLAB-QUEUE",
        "! -p tcp -j TAMPERLAB-QUEUE",
    ]


def test_wider_want_swallows_narrower_ones() -> None:
    """Nothing is tested twice: a rule on all ports makes port rules pointless."""
    plan = plan_for(deployment("tcp.dstport == 25 and tcp.len > 0", "tcp.len > 0"))
    assert plan.wants == (Want("tcp", None, None, every_segment=False),)


def test_handshake_knob_needs_every_segment() -> None:
    """A box that wants to see the handshake must see its bare ACK."""
    plan = plan_for(deployment("tcp.dstport == 25 and tcp.len > 0", tcp=TcpReading(handshake=True)))
    assert all(want.every_segment for want in plan.wants)


@pytest.mark.parametrize(
    ("reading", "flag"),
    [
        (TcpReading(ends_on_rst=False, state_from=StateFrom.SYN), "SYN"),
        (TcpReading(ends_on_rst=True), "RST"),
        (TcpReading(ends_on_rst=False, ends_on_fin=True), "FIN"),
    ],
)
def test_tcp_knobs_bring_their_flags_to_user_space(reading: TcpReading, flag: str) -> None:
    """Segments without payload are queued when a knob is about them, and only then."""
    text = install_text(plan_for(deployment("tcp.len > 0", tcp=reading)), WIRING, family=4, generation=1)
    flags = [line for line in rules_of(text, "TAMPERLAB-DATA") if "--tcp-flags" in line]
    assert flags == [f"-A TAMPERLAB-DATA -p tcp --tcp-flags {flag} {flag} -j TAMPERLAB-QUEUE"]


def test_flags_add_up_over_profiles() -> None:
    """A box that changes its profile at noon must see at eleven what it will need at noon."""
    early = deployment("tcp.len > 0", tcp=TcpReading(ends_on_rst=False, state_from=StateFrom.SYN)).timeline
    late = deployment("tcp.len > 0", tcp=TcpReading(ends_on_rst=True)).timeline
    assert plan_for(Deployment("both", early + late)).flags == SYN | RST


def test_residual_on_addresses_needs_every_port() -> None:
    """Who stays punished on all ports is watched on all ports, from the first SYN."""
    residual = Residual((KeyPart.INSIDE_IP, KeyPart.OUTSIDE_IP), 1, False, (Log(),))
    plan = plan_for(deployment("tcp.dstport == 80 and tcp.len > 0", residual=residual))
    assert plan.wants == (Want("tcp", None, None, every_segment=True),)


def test_residual_that_drops_needs_every_protocol() -> None:
    """A dropped pair of hosts has no UDP either."""
    residual = Residual((KeyPart.INSIDE_IP, KeyPart.OUTSIDE_IP), 1, False, (Drop(),))
    plan = plan_for(deployment("tcp.dstport == 80 and tcp.len > 0", residual=residual))
    assert plan.wants == (Want("any", None, None, every_segment=True),)


def test_residual_on_a_port_stays_on_that_port() -> None:
    """A key with the server's port asks for every segment of that port only."""
    residual = Residual((KeyPart.INSIDE_IP, KeyPart.OUTSIDE_IP, KeyPart.OUTSIDE_PORT), 1, False, (Drop(),))
    plan = plan_for(deployment("tcp.dstport == 80 and tcp.len > 0", residual=residual))
    assert plan.wants == (Want("tcp", ((80, 80),), None, every_segment=True),)


@pytest.mark.parametrize("fail_open", [True, False])
def test_queue_is_bypassed_only_by_a_box_that_fails_open(fail_open: bool) -> None:
    """With nobody at the queue packets pass or stop, as asked."""
    wiring = Wiring("inside", "outside", fail_open=fail_open)
    text = install_text(plan_for(deployment("tcp")), wiring, family=4, generation=1)
    (queue,) = [line for line in text.splitlines() if "NFQUEUE" in line]
    assert queue.endswith(" --queue-bypass") == fail_open


def test_generation_stands_in_every_decided_mark() -> None:
    """What was decided in an older generation decides nothing any more."""
    text = install_text(plan_for(deployment("tcp")), WIRING, family=4, generation=0x1234)
    decided = [line for line in rules_of(text, "TAMPERLAB-DECIDED") if "connmark" in line]
    assert len(decided) == 4
    assert all("--mark 0x1234" in line for line in decided)


@pytest.mark.parametrize("ends_on_rst", [True, False])
def test_end_of_a_connection_is_seen_in_a_direction_that_may_pass(ends_on_rst: bool) -> None:
    """A box that forgets at a RST must see the server's, though it looks at the client's data only."""
    plan = plan_for(deployment("tcp.dstport == 80 and tcp.len > 0", tcp=TcpReading(ends_on_rst=ends_on_rst)))
    lines = rules_of(install_text(plan, WIRING, family=4, generation=1), "TAMPERLAB-DECIDED")
    ends = [number for number, line in enumerate(lines) if "--tcp-flags RST RST -j RETURN" in line]
    drops = [number for number, line in enumerate(lines) if line.endswith("DROP")]
    passes = [number for number, line in enumerate(lines) if line.endswith("ACCEPT")]
    assert len(ends) == ends_on_rst
    assert all(max(drops) < end < min(passes) for end in ends)


def test_rule_that_counts_needs_every_segment() -> None:
    """`flow.packets` means the same to a live box as to a capture."""
    plan = plan_for(deployment("flow.packets <= 4 and tcp.len > 0"))
    assert all(want.every_segment for want in plan.wants)


def test_refresh_leaves_the_jumps_alone() -> None:
    """New rules come into the same chains: no packet finds the box missing."""
    text = refresh_text(plan_for(deployment("tcp")), WIRING, family=4, generation=2)
    assert "FORWARD" not in text
    assert "PREROUTING" not in text
    assert ":TAMPERLAB-BOX - [0:0]" in text


def test_remove_takes_exactly_what_install_made() -> None:
    """Every chain and every jump goes, nothing else is named."""
    installed = install_text(plan_for(deployment("tcp")), WIRING, family=4, generation=1).splitlines()
    removed = remove_text(WIRING).splitlines()
    jumps = [line for line in installed if re.match(r"-A (FORWARD|PREROUTING) ", line)]
    chains = [line[1:].split()[0] for line in installed if line.startswith(":")]
    assert sorted(line for line in removed if line.startswith("-D")) == sorted(
        "-D" + jump[2:] for jump in jumps
    )
    assert sorted(line[3:] for line in removed if line.startswith("-X")) == sorted(chains)
    assert all(chain.startswith("TAMPERLAB-") for chain in chains)


def test_marks_do_not_overlap() -> None:
    """Each bit of the two marks means one thing."""
    packet_bits = (
        kernel.OFFLOAD_MASK,
        kernel.GENERATION_MASK,
        kernel.ORIGINAL,
        kernel.REPLY,
        kernel.FIRST,
        kernel.ANSWERED,
        kernel.DROPPED,
    )
    connection_bits = (kernel.OFFLOAD_MASK, kernel.GENERATION_MASK, kernel.SEEN)
    for bits in (packet_bits, connection_bits):
        assert sum(bits) == sum(bits) & 0xFFFFFFFF
        assert sum(bit.bit_count() for bit in bits) == sum(bits).bit_count()


@pytest.mark.parametrize("family", [4, 6])
def test_answer_about_an_icmp_error_decides_nothing_for_the_connection_it_quotes(family: int) -> None:
    """Conntrack shows the error with the connection's mark: the packet goes its way before that mark is touched."""
    plan = plan_for(deployment("flow.packets == 1"))
    rules = rules_of(install_text(plan, WIRING, family=family, generation=1), "TAMPERLAB-ANSWERED")
    assert [rule.rpartition(" ")[2] for rule in rules[:2]] == ["DROP", "ACCEPT"]
    assert all("--ctstate RELATED" in rule for rule in rules[:2])
    assert all("CONNMARK" not in rule for rule in rules[:2])
