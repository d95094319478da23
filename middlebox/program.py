"""A profile made ready to run: which rules, which dissectors, which packets it has to see.

Counterpart of `profile`, which is what the file says; this is what follows from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from middlebox.dissect import DEFAULT_PORTS, datagram_dissector_for, dissector_for
from middlebox.dissect.base import Dissector
from middlebox.flow import Direction
from middlebox.packet import FIN, PROTOCOL_TCP, RST
from middlebox.profile import Action, Profile, Redirect, Rewrite, Rule, SecondSyn


@dataclass(frozen=True)
class Program:
    """What the engine needs of a profile, worked out once."""

    profile: Profile

    @cached_property
    def rules(self) -> tuple[tuple[Rule, ...], tuple[Rule, ...]]:
        """Rules by direction of the packets they look at; those that redirect are asked before there is a direction."""
        judging = [rule for rule in self.profile.rules if not redirects(rule)]
        return tuple(  # type: ignore[return-value]
            tuple(r for r in judging if r.direction in (None, direction)) for direction in Direction
        )

    @cached_property
    def redirects(self) -> tuple[Rule, ...]:
        """Rules that lead connections elsewhere."""
        return tuple(filter(redirects, self.profile.rules))

    @cached_property
    def protocols(self) -> frozenset[str]:
        return frozenset(name for rule in self.profile.rules for name in rule.when.needs.protocols)

    @cached_property
    def fields(self) -> frozenset[str]:
        return frozenset(name for rule in self.profile.rules for name in rule.when.needs.fields)

    @cached_property
    def window_bytes(self) -> int:
        """How much of the stream before a segment some rule wants to see."""
        return max((rule.when.needs.window_bytes for rule in self.profile.rules), default=0)

    @cached_property
    def reads_streams(self) -> bool:
        """Whether payload has to be put in order at all."""
        reading = self.profile.tcp
        return (
            bool(self.protocols)
            or self.window_bytes > 0
            or reading.checks_ack
            or reading.second_syn is not SecondSyn.NEW
            or self.may_lose_count
            or any(self.rewrites)
        )

    @cached_property
    def may_lose_count(self) -> bool:
        """Whether the box may read a connection anew after a SYN, SYN+ACK or RST: see `TcpReading`."""
        tcp = self.profile.tcp
        return tcp.second_syn is SecondSyn.RESYNC or tcp.resync_on_rst > 0 or tcp.resync_on_refusal > 0

    @cached_property
    def rewrites(self) -> tuple[bool, bool]:
        """By direction, whether some rule changes packets."""
        return tuple(  # type: ignore[return-value]
            any(isinstance(action, Rewrite) for rule in rules for action in all_actions(rule))
            for rules in self.rules
        )

    @cached_property
    def counts(self) -> bool:
        """Whether some rule looks at how much of a connection has been seen."""
        return any(rule.when.needs.counts for rule in self.profile.rules)

    @cached_property
    def meters(self) -> bool:
        """Whether some rule looks at how much its subscriber has used, so that every packet of his has to be seen."""
        return any(rule.when.needs.meters for rule in self.profile.rules)

    @cached_property
    def couples_directions(self) -> bool:
        """Whether one direction has to be seen for the sake of the other, whatever the protocol."""
        reading = self.profile.tcp
        return reading.handshake or reading.checks_ack or self.counts

    @cached_property
    def ports(self) -> Mapping[str, frozenset[int]]:
        """Where text protocols are looked for: Wireshark's ports, unless the profile names others."""
        return {**DEFAULT_PORTS, **self.profile.ports}

    @cached_property
    def ending_flags(self) -> int:
        """TCP flags that make the box forget a connection, or what its numbers were."""
        reading = self.profile.tcp
        heeds_rst = reading.ends_on_rst or reading.resync_on_rst or reading.resync_on_refusal
        return (RST if heeds_rst else 0) | (FIN if reading.ends_on_fin else 0)

    def dissector(self, protocol: int, client_port: int, server_port: int) -> Dissector | None:
        """A fresh dissector for a connection between these ports, None when no rule reads anything it could find.

        protocol: IP protocol number.
        """
        if not self.protocols:
            return None
        if protocol != PROTOCOL_TCP:
            return datagram_dissector_for(
                protocol,
                client_port,
                server_port,
                self.protocols,
                self.ports,
                wanted_fields=self.fields,
                quic=self.profile.quic,
            )
        return dissector_for(
            server_port,
            self.protocols,
            self.ports,
            wanted_fields=self.fields,
            join_records=self.profile.tcp.join_tls_records,
            http=self.profile.http,
        )


def redirects(rule: Rule) -> bool:
    return any(isinstance(action, Redirect) for action in rule.do)


def all_actions(rule: Rule) -> tuple[Action, ...]:
    """What a rule does, at a match and to those who stay punished."""
    return rule.do + (rule.residual.actions if rule.residual else ())
