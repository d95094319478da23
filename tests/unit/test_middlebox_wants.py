"""Which connections need not be asked about as long as their clients say no word, and which do all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from middlebox.filters import compile_filter
from middlebox.flow import Direction
from middlebox.load import load_deployment
from middlebox.profile import (
    Action,
    Delay,
    Deployment,
    KeyPart,
    Log,
    Phase,
    Placement,
    Profile,
    Redirect,
    Residual,
    Rule,
    SecondSyn,
    StateFrom,
    TcpReading,
)
from middlebox.wants import Plan, plan_for

FOLLOWS_SYNS = TcpReading(state_from=StateFrom.SYN, ends_on_rst=True, join_tls_records=False)
NAME = 'http.host == "blocked.example"'
TO_SERVER = Direction.CLIENT_TO_SERVER


def rule(
    text: str = NAME, *do: Action, direction: Direction | None = TO_SERVER, residual: Residual | None = None
) -> Rule:
    return Rule(text, compile_filter(text), do or (Log(),), direction=direction, residual=residual)


def plan_of(*rules: Rule, tcp: TcpReading = FOLLOWS_SYNS, punishing: bool = False) -> Plan:
    profile = Profile("test", "Test", Placement.ON_PATH, rules, tcp=tcp)
    return plan_for(Deployment("test", (Phase(0, profile),)), punishing=punishing)


def test_words_of_all_rules_about_the_same_packets_are_looked_for_together() -> None:
    """One search for each in one packet, whoever's rule it is."""
    plan = plan_of(rule(), rule('http.request.uri contains "falun"'))
    assert plan.words == {b"blocked.example", b"falun"}
    assert len(plan.wants) == 1


def test_rule_without_words_about_the_same_packets_needs_all_of_them() -> None:
    """What has to be asked about for one rule is asked about."""
    assert plan_of(rule(), rule('http.host matches "[0-9]+"')).words == frozenset()


def test_rule_without_words_about_other_ports_comes_first() -> None:
    """Its connections are told by their ports, before any word is looked for."""
    plan = plan_of(rule(), rule("tcp.dstport == 8080 and http.host"))
    assert [(want.ports, bool(want.words)) for want in plan.wants] == [(((8080, 8080),), False), (None, True)]


@pytest.mark.parametrize(
    "tcp",
    [
        replace(FOLLOWS_SYNS, state_from=StateFrom.ANY),
        replace(FOLLOWS_SYNS, state_from=StateFrom.SYNACK),
        replace(FOLLOWS_SYNS, handshake=True),
        replace(FOLLOWS_SYNS, checks_ack=True),
        replace(FOLLOWS_SYNS, ends_on_fin=True),
        replace(FOLLOWS_SYNS, second_syn=SecondSyn.IGNORED),
        replace(FOLLOWS_SYNS, resync_on_rst=0.5),
    ],
    ids=lambda tcp: next(
        name for name in TcpReading.__dataclass_fields__ if getattr(tcp, name) != getattr(FOLLOWS_SYNS, name)
    ),
)
def test_box_that_looks_at_more_than_what_clients_say_is_asked(tcp: TcpReading) -> None:
    """At the server's numbers, at empty segments, at the end of each connection: that cannot be made up for later."""
    assert plan_of(rule(), tcp=tcp).words == frozenset()


@pytest.mark.parametrize(
    "other",
    [
        rule(direction=None),
        rule('http.response.phrase contains "blocked"', direction=None),
        rule('http.content_type contains "blocked"'),
        rule("flow.data_packets > 3"),
        rule(NAME, Delay(5)),
        rule(NAME, Redirect(bytes(4), b"")),
    ],
    ids=["either way", "response", "of either end", "counted", "held", "led elsewhere"],
)
def test_rule_that_needs_more_than_what_clients_say_keeps_all_asked(other: Rule) -> None:
    """One of them in a profile is enough."""
    assert plan_of(rule(), other).words == frozenset()


def test_tls_names_have_words_only_where_records_are_not_joined() -> None:
    """A name may lie in two records, with the head of the second in the middle of it."""
    name = rule('tls.handshake.extensions_server_name == "blocked.example"')
    both = rule('tls.handshake.extensions_server_name == "blocked.example" or http.host == "blocked.example"')
    assert plan_of(both).words == {b"blocked.example"}
    assert plan_of(both, tcp=replace(FOLLOWS_SYNS, join_tls_records=True)).words == frozenset()
    assert plan_of(name).words == frozenset()  # the kernel itself lets go of what is not TLS: cheaper still


def test_while_somebody_is_punished_all_are_asked_about() -> None:
    """He is punished at his next packet, whatever it says."""
    residual = Residual((KeyPart.CLIENT_IP, KeyPart.SERVER_IP), 90, refresh=False, do=(Log(),))
    assert plan_of(rule(residual=residual)).words
    assert not plan_of(rule(residual=residual), punishing=True).words


def test_plan_without_words_asks_about_as_much() -> None:
    """For kernels that cannot look for them."""
    plan = plan_of(rule(), rule("tcp.dstport == 8080 and http.host"))
    bare = plan.without_words()
    assert (bare.words, [want.ports for want in bare.wants]) == (frozenset(), [None])
    assert replace(bare, wants=()) == replace(plan, wants=())


def test_the_great_firewalls_boxes_of_2024_ask_about_no_plain_connection() -> None:
    """Three at one place: of the two others one is about DNS and one about port 25."""
    boxes = [load_deployment(name) for name in ("gfw-2024", "gfw-dns", "gfw-smtp-2007")]
    assert plan_for(*boxes, punishing=False).words == {b"blocked.example"}
