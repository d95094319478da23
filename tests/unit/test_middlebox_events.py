"""The ground truth: every kind of event becomes one JSON object, and says which packet it means."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import IP, TCP

from middlebox import events
from middlebox.events import SCHEMA, Event, FlowName, Trigger
from middlebox.flow import Direction
from middlebox.packet import decode, tcp_segment, with_ttl
from tests.unit.talk import CLIENT, SERVER

FLOW = FlowName(CLIENT, 40000, SERVER, 587, 6)
DATA = tcp_segment(
    src=CLIENT, dst=SERVER, sport=40000, dport=587, seq=7, ack=9, flags=0x18, window=1, ttl=61, ip_id=77,
    payload=b"STARTTLS\r\n",
)  # fmt: skip


def trigger(data: bytes = DATA) -> Trigger:
    p = decode(data)
    assert p is not None
    return Trigger.of(p)


VALUES: dict[str, Any] = {
    "flow": FLOW, "direction": Direction.SERVER_TO_CLIENT, "trigger": trigger(), "now_ns": 5, "packet": DATA,
    "rewritten": DATA, "actions": ["reset"], "acted": True, "fields": {"tls.handshake.type": [1]}, "until_ns": 9,
    "key": ["inside_ip=192.0.2.11"], "delay_ns": 3, "details": {"profile": "p"}, "kind": "residual_hit",
    "dropped": 1, "user_dropped": 2, "rate_bits_per_s": 140_000, "to": SERVER, "to_port": 25,
}  # fmt: skip
CONSTRUCTORS = [
    function for _, function in inspect.getmembers(events, inspect.isfunction)
    if inspect.signature(function).return_annotation == "Event"
]  # fmt: skip


def made(function: Callable[..., Event]) -> Event:
    arguments = {}
    for name, parameter in inspect.signature(function).parameters.items():
        wants_identity = name == "packet" and "Trigger" in str(parameter.annotation)
        arguments[name] = trigger() if wants_identity else VALUES.get(name, "word")
    return function(**arguments)


@pytest.mark.parametrize("function", CONSTRUCTORS, ids=lambda function: function.__name__)
def test_event_survives_json_with_its_head(function: Callable[..., Event]) -> None:
    """One line of events.jsonl: kind, time and schema first, nothing that JSON cannot say, nothing lost."""
    event = made(function)
    said = event.as_json()
    assert json.loads(json.dumps(said)) == said
    assert (said["event"], said["time_ns"], said["schema"]) == (event.kind, event.time_ns, SCHEMA)
    assert set(said) - {"event", "time_ns", "schema", "flow"} == set(event.details)
    assert ("flow" in said) == (event.flow is not None)


def test_flow_is_named_by_both_ends_and_a_community_id() -> None:
    """The client first; the identity is what tshark and Zeek would say."""
    said = FLOW.as_json()
    assert (said["client"], said["client_port"], said["server"], said["server_port"]) == (
        "192.0.2.11", 40000, "203.0.113.25", 587,
    )  # fmt: skip
    assert said["protocol"] == "tcp"
    assert said["community_id"].startswith("1:")
    assert FlowName(CLIENT, 0, SERVER, 0, 47).as_json()["protocol"] == "47"


def test_direction_is_said_in_words() -> None:
    """Nobody has to know which number is which."""
    assert made(events.packet_dropped).details["direction"] == "server-to-client"


def test_trigger_is_found_again_after_routers() -> None:
    """All but the TTL stays the same on the way."""
    here, there = trigger().as_json(), trigger(with_ttl(DATA, 40)).as_json()
    assert (here.pop("ttl"), there.pop("ttl")) == (61, 40)
    assert here == there


def test_trigger_says_what_scapy_says() -> None:
    """Identity by header fields and payload."""
    packet = IP(DATA)
    said = trigger().as_json()
    assert (said["ip_id"], said["seq"], said["ack"], said["flags"]) == (
        packet.id,
        packet[TCP].seq,
        packet[TCP].ack,
        "PA",
    )
    assert said["length"] == len(packet[TCP].payload)


def test_trigger_digest_tells_payloads_apart() -> None:
    """Two segments with the same numbers and other bytes are not the same packet."""
    other = DATA.replace(b"STARTTLS", b"STARTTLZ")
    assert trigger().digest != trigger(other).digest
