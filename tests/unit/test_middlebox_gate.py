"""What is queued is what a rule could need, and the text says so in words that nft knows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from middlebox.filters import compile_filter
from middlebox.gate import chains_of, flush_text, remove_text, rules_text, structure_text
from middlebox.kernel import ELEPHANT, INJECT_INTO, Wiring, generation_of
from middlebox.look import Look
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
    Reset,
    Residual,
    Rule,
    StateFrom,
    TcpReading,
    Towards,
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


def rules_of(plan: Plan, chain: str, *, generation: int = 1) -> list[str]:
    """What is said to the kernel about one chain."""
    begin = f"add rule inet tamperlab {chain} "
    lines = rules_text(plan, WIRING, generation=generation).splitlines()
    return [line.removeprefix(begin) for line in lines if line.startswith(begin)]


def queued_by(plan: Plan) -> list[str]:
    """The rules about what has no decision that lead to the queue."""
    return [rule for rule in rules_of(plan, "unasked") if rule.endswith((" data", " ask", " tls"))]


def empties(rules: list[str]) -> list[str]:
    """Those that tell segments without payload."""
    return [rule for rule in rules if "ip length" in rule or "ip6 length" in rule]


def test_synack_says_where_a_connection_begins_whose_payload_is_put_in_order() -> None:
    """One packet more for each such connection, of the watched ports only."""
    plan = plan_for(deployment("tcp.dstport == 80 and http.host"))
    assert rules_of(plan, "synack") == ["tcp dport { 80 } goto ask", "tcp sport { 80 } goto ask"]
    assert not plan.sees_syn


def test_synack_is_asked_for_before_what_is_empty_goes_on_and_after_it_is_answered() -> None:
    """Else it would be let pass with the bare ACKs, or come again for ever."""
    plan = plan_for(deployment("http.host"))
    *_, answered, last = rules_of(plan, "box")
    assert (answered.rpartition(" ")[2], last) == ("answered", "goto unasked")
    synack, *others = rules_of(plan, "unasked")
    assert synack.endswith(" synack")
    assert len(empties(others)) == 2


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
    assert rules_of(plan_for(deployment(text, tcp=reading)), "synack") == []


def test_synack_is_wanted_by_a_box_that_checks_ack_numbers() -> None:
    """What was never sent is known by where the other end began, even if nothing is put in order."""
    reading = TcpReading(checks_ack=True, reassembly=Reassembly.NONE)
    assert rules_of(plan_for(deployment("tcp.len > 5", tcp=reading)), "synack") == [
        "meta l4proto tcp goto ask"
    ]


def test_no_rule_queues_nothing() -> None:
    """A box without rules, or whose rules can match nothing, costs nothing: no hook, no rule."""
    for nothing in (Deployment("none", ()), deployment("tcp.dstport == 1 and tcp.dstport == 2")):
        plan = plan_for(nothing)
        assert "hook" not in structure_text(plan)
        assert rules_text(plan, WIRING, generation=1) == ""


def test_ports_are_queued_in_both_directions() -> None:
    """The answers of a watched port are needed too, to know what the connection is about."""
    assert queued_by(plan_for(deployment("tcp.dstport == 465 and tls.handshake.type == 1"))) == [
        "tcp dport { 465 } jump tls",
        "tcp sport { 465 } jump tls",
    ]


def test_tls_anywhere_is_looked_for_at_the_beginning_but_after_starttls_later() -> None:
    """Other connections are let go by the kernel at their first payload, those of text protocols are not."""
    assert queued_by(plan_for(deployment('tls.handshake.extensions_server_name contains "x"'))) == [
        "tcp dport { 25, 110, 143, 587 } jump data",
        "tcp sport { 25, 110, 143, 587 } jump data",
        "meta l4proto tcp jump tls",
    ]


def test_tls_of_a_box_that_needs_the_syn_queues_the_syn() -> None:
    """What is looked at only after its SYN must be shown with its SYN (SP25), before its first payload decides."""
    for state in StateFrom:
        plan = plan_for(deployment("tls.handshake.type == 1", tcp=replace(CAREFREE, state_from=state)))
        queues_syn = rules_of(plan, "tls")[0] == "tcp flags & syn == syn goto ask"
        assert queues_syn is (state is not StateFrom.ANY)


def test_tls_is_looked_for_behind_what_others_want() -> None:
    """Where a rule wants to see a connection, that it is not TLS is no reason to let go of it."""
    plan = plan_for(deployment("tls", "http.host", "tcp.port == 8080 and tcp.payload contains 61"))
    assert [want.tls for want in plan.wants] == sorted(want.tls for want in plan.wants)


def test_box_that_checks_ack_numbers_judges_itself_what_is_tls() -> None:
    """The kernel would take junk with an implausible ACK for the beginning; such a box does not."""
    plan = plan_for(deployment("tls.handshake.type == 1", tcp=TcpReading(checks_ack=True)))
    assert not any(want.tls for want in plan.wants)


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
        "tcp dport { 6 } tcp sport { 5 } jump data",
        "tcp sport { 6 } tcp dport { 5 } jump data",
    ]


def test_ranges_and_single_ports_stand_in_one_list() -> None:
    """However many there are."""
    plan = plan_for(deployment("tcp.dstport in {1, 5, 100..200} and tcp.len > 0"))
    assert queued_by(plan)[0] == "tcp dport { 1, 5, 100-200 } jump data"


def test_rule_on_flags_needs_every_segment() -> None:
    """What looks at segments without payload must get them."""
    plan = plan_for(deployment("tcp.flags.ack == 1"))
    assert queued_by(plan) == ["meta l4proto tcp goto ask"]
    assert not empties(rules_of(plan, "unasked"))


def test_udp_rule_leaves_tcp_alone() -> None:
    """Only the transport that a rule is about is queued."""
    assert queued_by(plan_for(deployment("udp.dstport == 53"))) == [
        "udp dport { 53 } goto ask",
        "udp sport { 53 } goto ask",
    ]


def test_rule_without_transport_queues_everything() -> None:
    """A rule on addresses sees ICMP too."""
    assert queued_by(plan_for(deployment("ip.addr == 192.0.2.0/24"))) == [
        "meta l4proto tcp goto ask",
        "meta l4proto != tcp goto ask",
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
    plan = plan_for(deployment("tcp.len > 0", tcp=reading))
    name = flag.lower()
    assert [rule for rule in rules_of(plan, "data") if "flags" in rule] == [
        f"tcp flags & {name} == {name} goto ask"
    ]
    let_go = empties(rules_of(plan, "unasked"))
    assert len(let_go) == 2
    assert all(rule.startswith(f"tcp flags & ({name}) == 0 ") for rule in let_go)


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


@pytest.mark.parametrize("ends_on_rst", [True, False])
def test_end_of_a_connection_is_seen_in_a_direction_that_may_pass(ends_on_rst: bool) -> None:
    """A box that forgets at a RST must see the server's, though it looks at the client's data only."""
    plan = plan_for(deployment("tcp.dstport == 80 and tcp.len > 0", tcp=TcpReading(ends_on_rst=ends_on_rst)))
    lines = rules_of(plan, "decided")
    ends = [number for number, line in enumerate(lines) if line == "tcp flags & rst == rst return"]
    drops = [number for number, line in enumerate(lines) if line.endswith("drop")]
    passes = [number for number, line in enumerate(lines) if line.endswith("accept")]
    assert len(ends) == ends_on_rst
    assert all(max(drops) < end < min(passes) for end in ends)


def test_what_is_empty_is_told_once() -> None:
    """Where it has gone on already, nobody asks again; where a flag is wanted, the others still go on."""
    for reading, left in ((CAREFREE, 0), (TcpReading(ends_on_rst=True), 2)):
        plan = plan_for(deployment("tls", "tcp.dstport == 80 and tcp.len > 0", tcp=reading))
        assert len(empties(rules_of(plan, "unasked"))) == 2
        assert [len(empties(rules_of(plan, chain))) for chain in ("data", "tls")] == [left, left]


def test_connection_without_a_mark_is_one_of_which_nothing_is_known() -> None:
    """Whoever is asked about leaves a mark first: the short way leads round no decision and no answer."""
    plan = plan_for(deployment("tcp"))
    assert rules_of(plan, "box")[0] == "ct mark 0 goto unasked"
    assert any(rule.endswith("ct mark set ct mark & 0xffffffef | 0x10") for rule in rules_of(plan, "ask"))


def test_rule_that_counts_needs_every_segment() -> None:
    """`flow.packets` means the same to a live box as to a capture."""
    plan = plan_for(deployment("flow.packets <= 4 and tcp.len > 0"))
    assert all(want.every_segment for want in plan.wants)


@pytest.mark.parametrize("late", [False, True])
def test_packets_are_kept_from_conntrack_only_where_some_are_forged(late: bool) -> None:
    """A hook that nobody needs is not there; a residual may be the only one that forges."""
    forging = (Reset(Towards.BOTH, Look()),)
    residual = Residual((KeyPart.INSIDE_IP,), 1, False, forging) if late else None
    rule = Rule("forger", compile_filter("tcp.len > 0"), (Log(),) if late else forging, residual=residual)
    forger = Profile("test", "Test", Placement.ON_PATH, (rule,), tcp=CAREFREE)
    text = structure_text(plan_for(Deployment("test", (Phase(0, forger),))))
    assert "add rule netdev tamperlab untracked notrack\n" in text
    assert f'device "{INJECT_INTO}"' in text
    assert "netdev" not in structure_text(plan_for(deployment("tcp.len > 0")))


def test_elephant_is_reported_with_the_generation_by_which_it_may_pass() -> None:
    """The report may wait in the queue while the rules change, and must count no more then."""
    (reports, *_) = rules_of(plan_for(deployment("tcp")), "passing", generation=0x1234)
    (mark,) = [int(word, 16) for word in reports.split() if word.startswith("0x")]
    assert mark & ELEPHANT
    assert generation_of(mark) == 0x1234


def test_new_rules_leave_the_hooks_and_the_queue_alone() -> None:
    """The kernel drops what waits in the queue when a hook goes."""
    plan = plan_for(deployment("tcp"))
    text = flush_text(chains_of(plan)) + rules_text(plan, WIRING, generation=2)
    assert "hook" not in text
    assert "delete" not in text
    assert "flush chain inet tamperlab box\n" in text
    assert "flush chain inet tamperlab to_user\n" not in text


def test_rules_go_into_chains_of_their_plan() -> None:
    """All of them are made before, and emptied before others come."""
    for plan in (plan_for(deployment(text)) for text in ("tls", "tcp.flags.ack == 1")):
        made = [line.split()[4] for line in structure_text(plan).splitlines() if line.startswith("add chain")]
        assert set(made) == chains_of(plan) | {"to_user", "note", "words"}
        for line in rules_text(plan, WIRING, generation=1).splitlines():
            assert line.split()[4] in chains_of(plan)


def test_one_table_is_all_that_comes_and_goes() -> None:
    """Nothing of anybody else's is named."""
    plan = plan_for(deployment("tcp"))
    for text in (
        structure_text(plan),
        rules_text(plan, WIRING, generation=1),
        flush_text(chains_of(plan)),
        remove_text(),
    ):
        for line in text.splitlines():
            assert line.split()[2:4] in (["inet", "tamperlab"], ["netdev", "tamperlab"])
    assert remove_text().splitlines()[-1] == "delete table inet tamperlab"


def test_answer_about_an_icmp_error_decides_nothing_for_the_connection_it_quotes() -> None:
    """Conntrack shows the error with the connection's mark: that mark is not touched."""
    rules = rules_of(plan_for(deployment("flow.packets == 1")), "answered")
    assert [rule.rpartition(" ")[2] for rule in rules[-2:]] == ["drop", "accept"]
    deciding = [rule for rule in rules if "ct mark set" in rule]
    assert len(deciding) == 4
    assert all("ct state != related" in rule for rule in deciding)
