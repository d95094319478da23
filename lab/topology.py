"""The topologies: who is connected to whom, with which addresses. Declarative; knows nothing of running.

Kind `isp`, two subscribers, hops_before_box=1, hops_after_box=3:

    sim1 .11 ─┐                                                               ┌─ dns      .53
              ├─ access1 ── box ── transit1 ── transit2 ── transit3 ──────────┼─ mail     .25
    sim2 .12 ─┘        inside  outside                                        ├─ provider .26
                                                                              └─ web .80, ssh .22, ...

    subscribers  192.0.2.0/24     2001:db8:1::/64     simN = .(10+N), ::(10+N); their gateway .1, ::1
    transit      198.51.100.0/24  2001:db8:2::/48     link K: .(4K-3) to .(4K-2), 2001:db8:2:K::1 to ::2
    servers      203.0.113.0/24   2001:db8:3::/64     mail = .25, ::25 and so on; their gateway .1, ::1

Every host has a link of its own to its router, as a SIM card or a rented server has: the router holds a host
route per link, and no bridge or switch is needed, which would be one kernel module more. Neighbours are entered
by hand, so that no ARP and no neighbour discovery delays a first packet or clutters a capture.
The number in an IPv6 address reads like that of the IPv4 address: .25 is ::25.

This file must never start a process. Its counterpart is `lab/lab.py`.
Sources: RFC 5737, RFC 3849 (documentation addresses).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise

MAX_NODE_NAME = 10
"""Characters: `NAME-ethNN` must fit in the kernel's 15 (IFNAMSIZ - 1)."""

SERVER_NUMBERS: Mapping[str, int] = {"dns": 53, "mail": 25, "provider": 26, "web": 80, "ssh": 22}
"""The last part of a known server's addresses; servers of other names get 100, 101, ... in the order given."""

SUBSCRIBERS_V4, SUBSCRIBERS_V6 = "192.0.2.0/24", "2001:db8:1::/64"
SERVERS_V4, SERVERS_V6 = "203.0.113.0/24", "2001:db8:3::/64"
DEFAULT_V4, DEFAULT_V6 = "0.0.0.0/0", "::/0"


class LinkKind(StrEnum):
    """What a link is, for the `links:` of a scenario."""

    ACCESS = "access"
    """Subscriber - first access router."""
    TRANSIT = "transit"
    """Router - router, the box among them."""
    SERVER = "server"
    """Last transit router - server."""


class Role(StrEnum):
    """What a node is there for."""

    SUBSCRIBER = "subscriber"
    ROUTER = "router"
    BOX = "box"
    SERVER = "server"


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link. `ipv4`, `ipv6`: the address this node has there, without prefix length."""

    node: str
    interface: str
    mac: str
    ipv4: str
    ipv6: str


@dataclass(frozen=True, slots=True)
class Wire:
    """A link between two nodes; `near` is the end nearer to the subscribers."""

    kind: LinkKind
    near: End
    far: End

    @property
    def name(self) -> str:
        """`sim1-access1`: the two nodes, subscribers' side first."""
        return f"{self.near.node}-{self.far.node}"


@dataclass(frozen=True, slots=True)
class Route:
    """Packets for the network `to` (CIDR) leave through `interface`, to the neighbour `via`."""

    to: str
    interface: str
    via: str


@dataclass(slots=True)
class Node:
    """A node with its ends and its routes, IPv4 and IPv6 mixed."""

    name: str
    role: Role
    ends: list[End] = field(default_factory=list)
    neighbours: list[tuple[str, End]] = field(default_factory=list)
    """(own interface, the other end); reached without a route."""
    routes: list[Route] = field(default_factory=list)


class IspTopology:
    """An access network, a box in its path, transit routers, a server network; drawn at the top of this file.

    subscribers, hops_before_box, hops_after_box: at least 1 each; hops are routers, the box not counted.
    servers: names, in order. ValueError: a number out of range or a name that cannot be used.
    """

    BOX = "box"

    def __init__(
        self,
        *,
        subscribers: int = 1,
        hops_before_box: int = 1,
        hops_after_box: int = 1,
        servers: Sequence[str] = ("dns", "mail"),
    ) -> None:
        _check_range("subscribers", subscribers, 1, 200)
        _check_range("hops_before_box", hops_before_box, 1, 20)
        _check_range("hops_after_box", hops_after_box, 1, 20)
        self.nodes: dict[str, Node] = {}
        self.wires: list[Wire] = []
        self.access = [self._add(f"access{n + 1}", Role.ROUTER) for n in range(hops_before_box)]
        box = self._add(self.BOX, Role.BOX)
        self.transit = [self._add(f"transit{n + 1}", Role.ROUTER) for n in range(hops_after_box)]
        self.subscribers = [f"sim{n + 1}" for n in range(subscribers)]
        self.servers = list(servers)
        # the chain first: each router has its link towards the subscribers as eth0, the box its inside
        chain = [*self.access, box, *self.transit]
        for number, (near, far) in enumerate(pairwise(chain), start=1):
            self._join_routers(number, near, far)
        for number, name in enumerate(self.subscribers, start=11):
            self._join_host(self._add(name, Role.SUBSCRIBER), self.access[0], number)
        others = [name for name in self.servers if name not in SERVER_NUMBERS]
        _check_range("number of servers that have no address of their own", len(others), 0, 100)
        for name in self.servers:
            number = SERVER_NUMBERS[name] if name in SERVER_NUMBERS else 100 + others.index(name)
            self._join_host(self._add(name, Role.SERVER), self.transit[-1], number)
        self._route(chain)

    @property
    def inside_interface(self) -> str:
        """The box's interface towards the subscribers."""
        return self.nodes[self.BOX].ends[0].interface

    @property
    def outside_interface(self) -> str:
        """The box's interface towards the servers."""
        return self.nodes[self.BOX].ends[1].interface

    def _add(self, name: str, role: Role) -> Node:
        if name in self.nodes:
            raise ValueError(f"expected names that differ, got {name!r} twice; rename one")
        if not (name.isascii() and name.isalnum() and len(name) <= MAX_NODE_NAME):
            raise ValueError(
                f"expected a node name of 1 to {MAX_NODE_NAME} letters and digits, got {name!r}; rename it"
            )
        self.nodes[name] = Node(name, role)
        return self.nodes[name]

    def _wire(self, kind: LinkKind, near: tuple[Node, str, str], far: tuple[Node, str, str]) -> None:
        ends = []
        for side, (node, ipv4, ipv6) in enumerate((near, far)):
            # locally administered, and readable: wire number and side
            mac = f"02:00:00:{len(self.wires) >> 8:02x}:{len(self.wires) & 255:02x}:{side + 1:02x}"
            ends.append(End(node.name, f"{node.name}-eth{len(node.ends)}", mac, ipv4, ipv6))
            node.ends.append(ends[-1])
        near[0].neighbours.append((ends[0].interface, ends[1]))
        far[0].neighbours.append((ends[1].interface, ends[0]))
        self.wires.append(Wire(kind, ends[0], ends[1]))

    def _join_routers(self, number: int, near: Node, far: Node) -> None:
        v4, v6 = "198.51.100.", f"2001:db8:2:{number:x}::"
        self._wire(
            LinkKind.TRANSIT,
            (near, f"{v4}{4 * number - 3}", f"{v6}1"),
            (far, f"{v4}{4 * number - 2}", f"{v6}2"),
        )

    def _join_host(self, host: Node, router: Node, number: int) -> None:
        if host.role is Role.SUBSCRIBER:
            kind, v4, v6 = LinkKind.ACCESS, "192.0.2.", "2001:db8:1::"
        else:
            kind, v4, v6 = LinkKind.SERVER, "203.0.113.", "2001:db8:3::"
        mine, gateway = (host, f"{v4}{number}", f"{v6}{number}"), (router, f"{v4}1", f"{v6}1")
        self._wire(kind, *((mine, gateway) if host.role is Role.SUBSCRIBER else (gateway, mine)))
        own, theirs = host.ends[0], router.ends[-1]
        host.routes += [
            Route(DEFAULT_V4, own.interface, theirs.ipv4),
            Route(DEFAULT_V6, own.interface, theirs.ipv6),
        ]

    def _route(self, chain: Sequence[Node]) -> None:
        """Static routes along the chain: every network behind the neighbour on either side."""
        links = [(f"198.51.100.{4 * n - 4}/30", f"2001:db8:2:{n:x}::/64") for n in range(1, len(chain))]
        for place, node in enumerate(chain):
            up = [(SUBSCRIBERS_V4, SUBSCRIBERS_V6), *links[: max(place - 1, 0)]]
            down = [(SERVERS_V4, SERVERS_V6), *links[place + 1 :]]
            for interface, neighbour in node.neighbours:
                if place > 0 and neighbour.node == chain[place - 1].name:
                    behind = up
                elif place + 1 < len(chain) and neighbour.node == chain[place + 1].name:
                    behind = down
                else:
                    continue
                for v4, v6 in behind:
                    node.routes += [
                        Route(v4, interface, neighbour.ipv4),
                        Route(v6, interface, neighbour.ipv6),
                    ]


def _check_range(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ValueError(f"expected {what} from {low} to {high}, got {value!r}; change it")
