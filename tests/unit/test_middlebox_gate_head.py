"""What the gate says first of all: what goes on by its bytes alone, and what by a decision of this generation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from middlebox.packet import RST, SYN
from middlebox.profile import SecondSyn, StateFrom, TcpReading
from middlebox.wants import plan_for
from tests.unit.test_middlebox_gate import CAREFREE, deployment, rules_of


@pytest.mark.parametrize(
    ("text", "reading", "mask"),
    [
        ("tcp.len > 0", CAREFREE, 0x2),
        ("tcp.len > 0", TcpReading(ends_on_rst=True), 0x6),
        ("tcp.len > 0", TcpReading(ends_on_rst=True, ends_on_fin=True), 0x7),
        ("tcp.flags.ack == 1", CAREFREE, None),
    ],
)
def test_common_empty_segments_go_on_first_where_nobody_wants_them(
    text: str, reading: TcpReading, mask: int | None
) -> None:
    """Those with a flag that is wanted do not, nor those of connections that are to be dropped."""
    rules = [rule for rule in rules_of(plan_for(deployment(text, tcp=reading)), "gate") if " 52 " in rule]
    let_go = [f"@th,104,8 & {mask:#x} == 0x0 ct mark & 0xc == 0 accept"] if mask else []
    assert [rule[rule.index("@th,104") :] for rule in rules] == let_go


@pytest.mark.parametrize("state", StateFrom)
def test_common_syns_go_on_first_where_nobody_wants_them(state: StateFrom) -> None:
    """Of connections about which nothing is known as yet."""
    plan = plan_for(deployment("tcp.len > 0", tcp=replace(CAREFREE, state_from=state)))
    let_go = [
        rule for rule in rules_of(plan, "gate") if "0xa002" in rule and rule.endswith("ct mark 0 accept")
    ]
    assert len(let_go) == (2 if state is StateFrom.ANY else 0)


def test_generation_stands_in_every_question_about_what_was_decided() -> None:
    """What was decided in an older generation decides nothing any more."""
    plan = plan_for(deployment("tcp"))
    told = [
        rule
        for chain in ("gate", "box")
        for rule in rules_of(plan, chain, generation=0x1234)
        if "ct mark & 0xffff" in rule
    ]
    assert len(told) == 4
    assert all("== 0x1234" in rule for rule in told)
    (forgets, *_) = rules_of(plan, "ask", generation=0x1234)
    assert "!= 0x123400 ct mark set" in forgets


@pytest.mark.parametrize(
    "reading",
    [
        TcpReading(ends_on_rst=False, second_syn=SecondSyn.RESYNC),
        TcpReading(ends_on_rst=False, resync_on_rst=0.1),
        TcpReading(ends_on_rst=False, resync_on_refusal=0.1),
    ],
)
def test_kernel_asks_anew_where_a_box_may_lose_count(reading: TcpReading) -> None:
    """After any SYN, SYN+ACK or RST nothing counts that was decided; those themselves go by no decision."""
    plan = plan_for(deployment("tcp.dstport == 80 and tcp.len > 0", tcp=reading))
    assert (plan.flags, plan.renews) == (SYN | RST, True)
    box = rules_of(plan, "box")
    passes = [rule for rule in (*rules_of(plan, "gate"), *box) if rule.endswith(("accept", "goto passing"))]
    assert len(passes) == 5
    assert all("@th,104,8 & 0x6 == 0x0" in rule for rule in passes)
    forgets = next(n for n, rule in enumerate(box) if rule.startswith("tcp flags & (syn | rst) != 0"))
    assert box[forgets].endswith("ct mark set ct mark & 0xff0000f0 | 0x0")
    assert forgets < next(n for n, rule in enumerate(box) if rule.endswith("jump decided"))


def test_kernel_decides_about_all_but_syns_where_no_box_loses_count() -> None:
    """Whoever does not use the knobs does not pay for them."""
    for second_syn, flags in ((SecondSyn.NEW, 0), (SecondSyn.IGNORED, SYN)):
        reading = TcpReading(ends_on_rst=False, second_syn=second_syn)
        plan = plan_for(deployment("tcp.dstport == 80 and tcp.len > 0", tcp=reading))
        assert (plan.flags, plan.renews) == (flags, False)
        rules = [*rules_of(plan, "gate"), *rules_of(plan, "box")]
        renewing = [rule for rule in rules if "syn | rst" in rule and "fin" not in rule or "& 0x6 " in rule]
        assert not renewing
