"""Whom which profile applies to, at this moment: subscribers by address, profiles by time.

Counterpart of `profile.Deployment`, which says it for all times.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from middlebox.filters.fields import NO_QUOTA
from middlebox.flowtable import Account
from middlebox.profile import Deployment, Profile, Timeline
from middlebox.program import Program

ADDRESSES_REMEMBERED = 65536
"""Inside addresses whose subscriber is kept ready (chosen)."""


class Assignment:
    """The programs in force. `of` is asked for every new connection, `advance` when time has passed."""

    def __init__(self, deployment: Deployment, start_ns: int) -> None:
        self._programs = {id(profile): Program(profile) for profile in deployment.profiles()}
        self._default = _Clock(deployment.timeline, start_ns)
        self._subscribers = [(s, _Clock(s.timeline, start_ns)) for s in deployment.subscribers]
        self._by_address: dict[bytes, tuple[Program | None, str]] = {}
        self._accounts: dict[bytes | str, Account] = {}
        self._quotas = {s.name: s.quota_bytes for s in deployment.subscribers if s.quota_bytes is not None}
        self.advance(start_ns)

    def of(self, inside_address: bytes) -> tuple[Program | None, str]:
        """(program, subscriber's name) for an inside address; (None, ...) lets everything pass."""
        if not self._subscribers:
            return self._program(self._default.profile), ""
        found = self._by_address.get(inside_address)
        if found is None:
            if len(self._by_address) >= ADDRESSES_REMEMBERED:
                self._by_address.clear()
            found = self._by_address[inside_address] = self._look_up(inside_address)
        return found

    def account_of(self, inside_address: bytes) -> Account:
        """What the subscriber with this address has used: all his addresses together, or, without a name, this one."""
        name = self.of(inside_address)[1]
        account = self._accounts.get(name or inside_address)
        if account is None:
            if len(self._accounts) >= ADDRESSES_REMEMBERED:
                del self._accounts[next(iter(self._accounts))]
            account = self._accounts[name or inside_address] = Account(self._quotas.get(name, NO_QUOTA))
        return account

    def _look_up(self, inside_address: bytes) -> tuple[Program | None, str]:
        address = IPv4Address(inside_address) if len(inside_address) == 4 else IPv6Address(inside_address)
        for subscriber, clock in self._subscribers:
            if any(
                address.version == network.version and address in network for network in subscriber.networks
            ):
                return self._program(clock.profile), subscriber.name
        return self._program(self._default.profile), ""

    def _program(self, profile: Profile | None) -> Program | None:
        return None if profile is None else self._programs[id(profile)]

    @property
    def next_change_ns(self) -> int | None:
        """When some timeline goes on to its next phase."""
        times = [clock.next_ns for clock in (self._default, *(clock for _, clock in self._subscribers))]
        return min((t for t in times if t is not None), default=None)

    def advance(self, now_ns: int) -> list[tuple[str | None, str | None]]:
        """Go on to the phases of now; (subscriber or None for everybody else, profile or None) for each change."""
        changes: list[tuple[str | None, str | None]] = []
        if self._default.advance(now_ns):
            changes.append((None, self._default.profile_name))
        for subscriber, clock in self._subscribers:
            if clock.advance(now_ns):
                changes.append((subscriber.name, clock.profile_name))
        if changes:
            self._by_address.clear()
        return changes


class _Clock:
    """Where one timeline stands."""

    def __init__(self, timeline: Timeline, start_ns: int) -> None:
        self._timeline = timeline
        self._start_ns = start_ns
        self._next = 0
        self.profile: Profile | None = None

    @property
    def profile_name(self) -> str | None:
        return None if self.profile is None else self.profile.name

    @property
    def next_ns(self) -> int | None:
        if self._next == len(self._timeline):
            return None
        return self._start_ns + self._timeline[self._next].at_ns

    def advance(self, now_ns: int) -> bool:
        """Whether another profile applies from now on."""
        before = self.profile
        while self.next_ns is not None and self.next_ns <= now_ns:
            self.profile = self._timeline[self._next].profile
            self._next += 1
        return self.profile is not before
