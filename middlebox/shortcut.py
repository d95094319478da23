"""The shortcut: connections that may pass and carry much (elephants) go from one interface straight to the other.

Pure: it makes text for nft, `firewall` carries it out. A packet that takes the shortcut is seen by nobody: no
conntrack, no routing, no rules of anybody's in this namespace, as with a flow table, which not every kernel has. So it
is taken only by connections that the gate has let pass and that have no address translated, only by segments in the
middle of them, and never for longer than `SECONDS` without being looked at again. Every change of generation closes it.
It is made for the first elephant, not before: its hooks cost every packet something.

Sources: nft(8), `fwd` in the netdev family.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from middlebox.gate import TABLE
from middlebox.kernel import Wiring

SECONDS: Final = 60
"""After so long an elephant is put to the test again (chosen)."""
ELEPHANTS: Final = 65_536
"""At the same time, of each IP version (chosen)."""

_KEYS: Final = {4: ("ip", "ipv4_addr"), 6: ("ip6", "ipv6_addr")}


@dataclass(frozen=True, slots=True)
class Elephant:
    """One connection. Addresses packed; ports."""

    inside_ip: bytes
    inside_port: int
    outside_ip: bytes
    outside_port: int

    @property
    def version(self) -> int:
        return 4 if len(self.inside_ip) == 4 else 6


@dataclass(frozen=True, slots=True)
class NextHops:
    """Of one IP version: the routers on both sides; "" where there is none and packets go to their target itself."""

    inside: str
    outside: str


def table_text(wiring: Wiring, hops: dict[int, NextHops]) -> str:
    """The table, for the IP versions whose next hops are known; of those that are there already, the rules go.

    It is taken away only at the end: with a hook the kernel would drop what waits in the box's queue.
    """
    sides = ((wiring.inside, wiring.outside, "outside"), (wiring.outside, wiring.inside, "inside"))
    lines = [f"add table netdev {TABLE}"]
    for version in hops:
        _, address = _KEYS[version]
        lines.append(
            f"add set netdev {TABLE} elephants{version} {{ type {address} . inet_service . {address} . inet_service; "
            f"flags dynamic, timeout; timeout {SECONDS}s; size {ELEPHANTS}; }}"
        )
    for here, there, side in sides:
        hook = f'type filter hook ingress device "{here}" priority 0; policy accept;'
        lines += [f"add chain netdev {TABLE} to_{side} {{ {hook} }}", f"flush chain netdev {TABLE} to_{side}"]
        for version, hop in hops.items():
            ip, _ = _KEYS[version]
            elephants = f"@elephants{version}"
            one_way = f"{ip} saddr . tcp sport . {ip} daddr . tcp dport"
            other_way = f"{ip} daddr . tcp dport . {ip} saddr . tcp sport"
            next_hop = (hop.outside if side == "outside" else hop.inside) or f"{ip} daddr"
            lines += [
                # A new connection between the same ports owes nothing to the old one; after a RST some boxes look anew.
                f"add rule netdev {TABLE} to_{side} tcp flags & (syn | rst) != 0 "
                f"delete {elephants} {{ {one_way} }} delete {elephants} {{ {other_way} }}",
                f"add rule netdev {TABLE} to_{side} tcp flags & (fin | syn | rst) == 0 {one_way} {elephants} "
                f'fwd {ip} to {next_hop} device "{there}"',
            ]
    return "".join(f"{line}\n" for line in lines)


def elephants_text(elephants: Iterable[Elephant]) -> str:
    """More of them, both ways."""
    return "".join(
        f"add element netdev {TABLE} elephants{e.version} {{ {inside} . {outside}, {outside} . {inside} }}\n"
        for e in elephants
        for inside in (f"{ip_address(e.inside_ip)} . {e.inside_port}",)
        for outside in (f"{ip_address(e.outside_ip)} . {e.outside_port}",)
    )


def close_text(versions: Iterable[int]) -> str:
    """Nobody takes it any more, of these IP versions."""
    return "".join(f"flush set netdev {TABLE} elephants{version}\n" for version in sorted(versions))


def remove_text() -> str:
    """Takes the table away, whether it is there or not."""
    return f"add table netdev {TABLE}\ndelete table netdev {TABLE}\n"
