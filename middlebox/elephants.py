"""EDGE. Who takes the shortcut: keeps the herd, and looks up where its packets would have been routed.

It must never let anybody take it who cannot: where a next hop is another than that of those before, or the two
interfaces do not carry packets of the same size, a connection goes on as before.
"""

from __future__ import annotations

import json
import subprocess
from ipaddress import ip_address
from typing import Final

from middlebox.kernel import Wiring
from middlebox.shortcut import SECONDS, Elephant, NextHops, close_text, elephants_text, table_text

_AT_ONCE: Final = 100
"""New ones in one call of nft: its text must fit a pipe (chosen)."""


class Elephants:
    """Those of one box. `count`: how many have been let in so far."""

    def __init__(self, wiring: Wiring) -> None:
        self.count = 0
        self._wiring = wiring
        self._until_ns: dict[Elephant, int] = {}
        self._waiting: list[Elephant] = []
        self._gateways: dict[tuple[str, bytes], str | None] = {}
        self._hops: dict[int, NextHops] = {}
        self._built: frozenset[int] = frozenset()
        self._sizes: tuple[int | None, int | None] | None = None
        self._refused = False

    def add(self, elephant: Elephant, now_ns: int) -> bool:
        """Take note of one that was reported; True if something is to be done about it."""
        if self._refused or self._until_ns.get(elephant, 0) > now_ns:
            return False
        self._forget(now_ns)
        self._until_ns[elephant] = now_ns + SECONDS * 10**9
        if len(self._waiting) < _AT_ONCE and self._may_pass(elephant):
            self._waiting.append(elephant)
        return bool(self._waiting)

    def _forget(self, now_ns: int) -> None:
        """They stand in the order in which they came, and so end in that order."""
        while self._until_ns and self._until_ns[first := next(iter(self._until_ns))] <= now_ns:
            del self._until_ns[first]

    def take(self) -> str:
        """What nft is to do for those that wait; "" for nothing."""
        if not self._waiting:
            return ""
        waiting, self._waiting = self._waiting, []
        self.count += len(waiting)
        text = elephants_text(waiting)
        versions = frozenset(self._hops)
        if versions != self._built:
            self._built = versions
            text = table_text(self._wiring, self._hops) + text
        return text

    def refuse(self) -> None:
        """The kernel cannot: nobody is let in any more."""
        self._refused = True
        self._built = frozenset()

    def disperse(self) -> str:
        """Other rules are in force: nobody takes the shortcut until he has been let pass again. What nft is to do."""
        self._until_ns.clear()
        self._waiting.clear()
        self._gateways.clear()
        self._sizes = None
        return close_text(self._built)

    def _may_pass(self, elephant: Elephant) -> bool:
        wiring = self._wiring
        inside = self._gateway(wiring.outside, elephant.outside_ip, wiring.inside, elephant.inside_ip)
        outside = self._gateway(wiring.inside, elephant.inside_ip, wiring.outside, elephant.outside_ip)
        if inside is None or outside is None or not self._same_size():
            return False
        return self._hops.setdefault(elephant.version, NextHops(inside, outside)) == NextHops(inside, outside)

    def _same_size(self) -> bool:
        if self._sizes is None:
            self._sizes = (_mtu(self._wiring.inside), _mtu(self._wiring.outside))
        return self._sizes[0] == self._sizes[1]

    def _gateway(self, arrives: str, source: bytes, leaves: str, target: bytes) -> str | None:
        """As in `NextHops`: where a packet goes that is forwarded so; None where it is not so simple."""
        key = (leaves, target)
        if key not in self._gateways:
            self._gateways[key] = _look_up(arrives, source, leaves, target)
        return self._gateways[key]


def _look_up(arrives: str, source: bytes, leaves: str, target: bytes) -> str | None:
    ends = [str(ip_address(target)), "from", str(ip_address(source))]
    argv = ["ip", "-json", "route", "get", *ends, "iif", arrives]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:
        return None
    (route,) = json.loads(done.stdout)
    # metrics: the route has an MTU of its own, say. via: a gateway of the other IP version.
    simple = route.get("dev") == leaves and not {"metrics", "via"} & route.keys()
    return route.get("gateway", "") if simple else None


def _mtu(interface: str) -> int | None:
    # Not from /sys, which shows the interfaces of the namespace in which it was mounted.
    done = subprocess.run(["ip", "-json", "link", "show", "dev", interface], capture_output=True, check=False)
    return int(json.loads(done.stdout)[0]["mtu"]) if done.returncode == 0 else None
