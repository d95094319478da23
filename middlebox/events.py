"""The ground truth: one event, one JSON object, one line. Schema version 1.

The core makes events, an edge writes them. Every event type is here, and `docs/events.md` is written from this file.
What a detector says is a *finding*; only what stands in these events is true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from typing import Any

from middlebox.community import community_id
from middlebox.flow import Direction
from middlebox.packet import PROTOCOL_TCP, PROTOCOL_UDP, Packet, flag_letters

SCHEMA = 1

PROTOCOL_NAMES = {PROTOCOL_TCP: "tcp", PROTOCOL_UDP: "udp"}


@dataclass(frozen=True, slots=True)
class FlowName:
    """A connection as people name it: client and server with their ports (0 where the protocol has none)."""

    client: bytes
    client_port: int
    server: bytes
    server_port: int
    protocol: int

    def as_json(self) -> dict[str, Any]:
        return {
            "client": str(ip_address(self.client)),
            "client_port": self.client_port,
            "server": str(ip_address(self.server)),
            "server_port": self.server_port,
            "protocol": PROTOCOL_NAMES.get(self.protocol, str(self.protocol)),
            "community_id": community_id(
                self.client, self.client_port, self.server, self.server_port, self.protocol
            ),
        }


@dataclass(frozen=True, slots=True)
class Trigger:
    """Enough of a packet to find it again in a capture, whatever its TTL has become."""

    ip_id: int | None
    seq: int
    ack: int
    length: int
    flags: str
    ttl: int
    digest: str

    @classmethod
    def of(cls, p: Packet) -> Trigger:
        digest = blake2b(p.payload, digest_size=8).hexdigest()
        return cls(p.ip_id, p.seq, p.ack, p.payload_len, flag_letters(p.flags), p.ttl, digest)

    def as_json(self) -> dict[str, Any]:
        return {
            "ip_id": self.ip_id, "seq": self.seq, "ack": self.ack, "length": self.length,
            "flags": self.flags, "ttl": self.ttl, "digest": self.digest,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `details` hold what `kind` needs, JSON values only."""

    kind: str
    time_ns: int
    flow: FlowName | None
    details: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        head: dict[str, Any] = {"event": self.kind, "time_ns": self.time_ns, "schema": SCHEMA}
        if self.flow is not None:
            head["flow"] = self.flow.as_json()
        return head | dict(self.details)


def flow_seen(now_ns: int, flow: FlowName) -> Event:
    """A connection that some rule could match was seen for the first time."""
    return Event("flow_seen", now_ns, flow, {})


def rule_matched(
    now_ns: int, flow: FlowName, *, rule: str, profile: str, direction: Direction, trigger: Trigger,
    actions: list[str], acted: bool, fields: Mapping[str, Any],
) -> Event:  # fmt: skip
    """A packet set off a rule. `fields` are the dissected fields of that packet, `actions` what the rule does;
    `acted` is False when the dice of a rule with a probability let it pass."""
    return Event("rule_matched", now_ns, flow, {
        "rule": rule, "profile": profile, "direction": direction.word, "trigger": trigger.as_json(),
        "actions": actions, "acted": acted, "fields": fields,
    })  # fmt: skip


def packet_forged(
    now_ns: int, flow: FlowName, *, rule: str, profile: str, towards: str, direction: Direction, packet: bytes,
    delay_ns: int, trigger: Trigger,
) -> Event:  # fmt: skip
    """A forged packet was handed out; `packet` as it leaves the box, `delay_ns` from trigger to sending."""
    return Event("packet_forged", now_ns, flow, {
        "rule": rule, "profile": profile, "towards": towards, "direction": direction.word,
        "packet": packet.hex(), "delay_ns": delay_ns, "trigger": trigger.as_json(),
    })  # fmt: skip


def packet_dropped(
    now_ns: int, flow: FlowName, *, rule: str, profile: str, direction: Direction, packet: Trigger
) -> Event:
    """A genuine packet was not let through."""
    return Event("packet_dropped", now_ns, flow, {
        "rule": rule, "profile": profile, "direction": direction.word, "packet": packet.as_json(),
    })  # fmt: skip


def packet_rewritten(
    now_ns: int,
    flow: FlowName,
    *,
    rule: str,
    profile: str,
    direction: Direction,
    packet: Trigger,
    rewritten: bytes,
) -> Event:
    """A genuine packet went on changed; `packet` as it came, `rewritten` as it leaves, TTL not yet lowered."""
    return Event(
        "packet_rewritten",
        now_ns,
        flow,
        {
            "rule": rule,
            "profile": profile,
            "direction": direction.word,
            "packet": packet.as_json(),
            "rewritten": rewritten.hex(),
        },
    )


def packet_held(
    now_ns: int,
    flow: FlowName,
    *,
    rule: str,
    profile: str,
    direction: Direction,
    packet: Trigger,
    until_ns: int,
) -> Event:
    """A genuine packet goes on later, at `until_ns`."""
    return Event(
        "packet_held",
        now_ns,
        flow,
        {
            "rule": rule,
            "profile": profile,
            "direction": direction.word,
            "packet": packet.as_json(),
            "until_ns": until_ns,
        },
    )


def connection_redirected(
    now_ns: int, flow: FlowName, *, rule: str, profile: str, to: bytes, to_port: int
) -> Event:
    """A connection was led to another host, `to` (its address), before it had begun; `flow` as its client means it."""
    details = {"rule": rule, "profile": profile, "to": str(ip_address(to)), "to_port": to_port}
    return Event("connection_redirected", now_ns, flow, details)


def throttle_started(now_ns: int, flow: FlowName, *, rule: str, profile: str, rate_bits_per_s: int) -> Event:
    """From now on this connection is policed to that rate; each packet above it is a packet_dropped."""
    details = {"rule": rule, "profile": profile, "rate_bits_per_s": rate_bits_per_s}
    return Event("throttle_started", now_ns, flow, details)


def residual_changed(
    kind: str, now_ns: int, flow: FlowName | None, *, rule: str, profile: str, key: list[str], until_ns: int
) -> Event:
    """`kind` is residual_started, residual_hit or residual_ended."""
    return Event(kind, now_ns, flow, {"rule": rule, "profile": profile, "key": key, "until_ns": until_ns})


def profile_changed(now_ns: int, *, profile: str | None, subscriber: str | None, cause: str) -> Event:
    """From now on another profile applies; `cause` is timeline or reload, `subscriber` None means everybody else."""
    return Event(
        "profile_changed", now_ns, None, {"profile": profile, "subscriber": subscriber, "cause": cause}
    )


def reload_failed(now_ns: int, *, reason: str) -> Event:
    """A new profile file was bad; the old one stays in force."""
    return Event("reload_failed", now_ns, None, {"reason": reason})


def engine_error(now_ns: int, *, error: str, traceback: str, packet: bytes) -> Event:
    """A bug. The run is invalid from here on."""
    return Event(
        "engine_error", now_ns, None, {"error": error, "traceback": traceback, "packet": packet.hex()}
    )


def queue_overflow(now_ns: int, *, dropped: int, user_dropped: int) -> Event:
    """The kernel dropped packets that the box never saw. The run is invalid."""
    return Event("queue_overflow", now_ns, None, {"dropped": dropped, "user_dropped": user_dropped})


def run_started(now_ns: int, details: Mapping[str, Any]) -> Event:
    return Event("run_started", now_ns, None, details)


def run_ended(now_ns: int, details: Mapping[str, Any]) -> Event:
    return Event("run_ended", now_ns, None, details)
