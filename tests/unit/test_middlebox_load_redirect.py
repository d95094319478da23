"""`redirect`: read from a profile, decided at a connection's first packet, told to the kernel, found in captures."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from random import Random

import pytest

from middlebox.decision import PASS
from middlebox.engine import Engine
from middlebox.flow import Side
from middlebox.gate import rules_text
from middlebox.kernel import Wiring, sysctls
from middlebox.load import load_deployment
from middlebox.packet import SYN, tcp_segment
from middlebox.profile import Redirect
from middlebox.wants import plan_for
from tests.unit.yaml_files import profile

WIRING = Wiring("in0", "out0")
PROVIDER = Redirect(ip_address("203.0.113.26").packed, ip_address("2001:db8:3::26").packed, 25)
CLIENTS = {4: "192.0.2.11", 6: "2001:db8:1::11"}
SERVERS = {4: "203.0.113.25", 6: "2001:db8:3::25"}


def syn(family: int, *, port: int = 25, server: str | None = None) -> bytes:
    return tcp_segment(
        src=ip_address(CLIENTS[family]).packed, dst=ip_address(server or SERVERS[family]).packed,
        sport=40000, dport=port, seq=1, ack=0, flags=SYN, window=500, ttl=60,
    )  # fmt: skip


def engine() -> Engine:
    return Engine(load_deployment("port-25-redirect"), Random(7), 0)


def test_redirect_is_read_with_one_address_or_two(tmp_path: Path) -> None:
    """An address leaves connections of the other version alone; without a port the client's own stays."""
    rules = "rules: [{name: a, when: tcp.dstport == 25, do: [{redirect: {to: 203.0.113.26}}]}]\n"
    assert profile(tmp_path, rules).rules[0].do == (Redirect(PROVIDER.ipv4, b""),)
    assert load_deployment("port-25-redirect").timeline[0].profile.rules[0].do == (PROVIDER,)  # type: ignore[union-attr]


@pytest.mark.parametrize("family", [4, 6])
def test_connection_is_led_at_its_first_packet_and_the_event_says_where(family: int) -> None:
    """The decision names the place; the event the connection as its client means it, and the place."""
    decision = engine().lead(syn(family), 5, Side.INSIDE)
    assert decision.redirect == PROVIDER
    matched, redirected = (event.as_json() for event in decision.events)
    assert (matched["event"], matched["rule"], matched["acted"]) == (
        "rule_matched",
        "lead-to-own-server",
        True,
    )
    assert redirected["event"] == "connection_redirected"
    assert redirected["flow"]["server"] == SERVERS[family]
    assert (redirected["to"], redirected["to_port"]) == (str(ip_address(PROVIDER.address(family))), 25)


def test_other_connections_go_where_they_are_meant_to() -> None:
    """Another port, and the place itself."""
    box = engine()
    for other in (syn(4, port=587), syn(4, server="203.0.113.26")):
        decision = box.lead(other, 0, Side.INSIDE)
        assert (decision.redirect, decision.events) == (None, ())
    assert box.lead(b"nonsense", 0, Side.INSIDE) is PASS


def test_rule_that_redirects_judges_no_packet() -> None:
    """What is not led at its first packet is let go at once: no other packet is asked about."""
    box = engine()
    assert plan_for(box.deployment).wants == ()
    assert box.handle(syn(4), 0, Side.INSIDE).events == ()


@pytest.mark.parametrize(("protocol", "place"), [("ip", "203.0.113.26:25"), ("ip6", "[2001:db8:3::26]:25")])
def test_kernel_is_told_to_ask_and_where_to_lead(protocol: str, place: str) -> None:
    """New connections of the rule's port come up before NAT; the mark of the answer picks the place."""
    plan = plan_for(load_deployment("port-25-redirect"))
    rules = rules_text(plan, WIRING, generation=1).splitlines()
    asked = [line for line in rules if line.startswith("add rule inet tamperlab lead ")]
    assert any("tcp dport { 25 }" in line for line in asked)
    assert all("ct state new" in line and line.endswith("goto to_user") for line in asked)
    assert all('iif { "in0", "out0" }' in line for line in asked)
    led = [line for line in rules if f"dnat {protocol} to" in line]
    assert led != []
    assert all(line.endswith(f"dnat {protocol} to {place}") for line in led)
    assert sysctls(plan) != {}


def test_led_connections_are_not_judged_besides() -> None:
    """Where a connection was led elsewhere, other rules of the box leave it alone."""
    plan = plan_for(load_deployment("port-25-redirect"), load_deployment("tmobile-uk-2012"))
    rules = rules_text(plan, WIRING, generation=1).splitlines()
    first = next(line for line in rules if line.startswith("add rule inet tamperlab box "))
    assert first == "add rule inet tamperlab box ct status & dnat == dnat accept"
