"""lab/topology.py: who is connected to whom, with which addresses."""

from __future__ import annotations

import itertools
from ipaddress import ip_address, ip_network

import pytest

from lab.topology import IspTopology, LinkKind, Node, Role

SHAPES = [(1, 1, 1), (2, 1, 3), (3, 4, 1), (200, 20, 20)]


def isp(subscribers: int, before: int, after: int) -> IspTopology:
    """All known servers and one of another name."""
    return IspTopology(
        subscribers=subscribers,
        hops_before_box=before,
        hops_after_box=after,
        servers=["dns", "mail", "provider", "web", "ssh", "relay"],
    )


def next_hop(topology: IspTopology, node: Node, address: str) -> Node | None:
    """Where `node` sends a packet for `address`: a neighbour, else by its longest matching route; None: it is there."""
    if any(address in (end.ipv4, end.ipv6) for end in node.ends):
        return None
    for _, end in node.neighbours:
        if address in (end.ipv4, end.ipv6):
            return topology.nodes[end.node]
    target = ip_address(address)
    fitting = [route for route in node.routes if target in ip_network(route.to)]
    best = max(fitting, key=lambda route: ip_network(route.to).prefixlen)
    (neighbour,) = [
        end
        for interface, end in node.neighbours
        if interface == best.interface and best.via in (end.ipv4, end.ipv6)
    ]
    return topology.nodes[neighbour.node]


def way(topology: IspTopology, source: str, address: str) -> list[str]:
    """The nodes that a packet from `source` visits until it is at `address`."""
    visited = [source]
    while (hop := next_hop(topology, topology.nodes[visited[-1]], address)) is not None:
        assert hop.name not in visited, "a loop"
        visited.append(hop.name)
    return visited


@pytest.mark.parametrize("shape", SHAPES)
def test_every_way_between_subscriber_and_server_leads_through_the_box(shape: tuple[int, int, int]) -> None:
    """There and back, over IPv4 and IPv6: the access routers, the box, the transit routers, in order."""
    topology = isp(*shape)
    chain = (
        [f"access{n + 1}" for n in range(shape[1])] + ["box"] + [f"transit{n + 1}" for n in range(shape[2])]
    )
    host = topology.nodes[topology.subscribers[-1]].ends[0]
    for name in topology.servers:
        server = topology.nodes[name].ends[0]
        for there, back in ((server.ipv4, host.ipv4), (server.ipv6, host.ipv6)):
            assert way(topology, host.node, there) == [host.node, *chain, name]
            assert way(topology, name, back) == [name, *reversed(chain), host.node]


def test_every_address_is_reached_from_every_node() -> None:
    """Routers too: a traceroute gets its answers, and the answers arrive."""
    topology = isp(2, 2, 2)
    for node in topology.nodes.values():
        for target in topology.nodes.values():
            for end in target.ends:
                for address in (end.ipv4, end.ipv6):
                    reached = topology.nodes[way(topology, node.name, address)[-1]]
                    assert address in {one for own in reached.ends for one in (own.ipv4, own.ipv6)}


def test_addresses_are_those_of_the_plan() -> None:
    """Subscribers count from .11, known servers have their numbers, others count from .100."""
    topology = isp(2, 1, 3)
    ends = {name: node.ends[0] for name, node in topology.nodes.items() if node.role is not Role.ROUTER}
    assert {
        name: (ends[name].ipv4, ends[name].ipv6) for name in ("sim1", "sim2", "dns", "mail", "relay")
    } == {
        "sim1": ("192.0.2.11", "2001:db8:1::11"),
        "sim2": ("192.0.2.12", "2001:db8:1::12"),
        "dns": ("203.0.113.53", "2001:db8:3::53"),
        "mail": ("203.0.113.25", "2001:db8:3::25"),
        "relay": ("203.0.113.100", "2001:db8:3::100"),
    }


@pytest.mark.parametrize("shape", SHAPES)
def test_addresses_are_documentation_ones_and_names_and_macs_are_unique(shape: tuple[int, int, int]) -> None:
    """RFC 5737 and RFC 3849 only; only a router's gateway address is on several of its links."""
    topology = isp(*shape)
    ends = list(itertools.chain.from_iterable(node.ends for node in topology.nodes.values()))
    documentation = [ip_network(text) for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
    assert all(any(ip_address(end.ipv4) in network for network in documentation) for end in ends)
    assert all(ip_address(end.ipv6) in ip_network("2001:db8::/32") for end in ends)
    assert len({end.mac for end in ends}) == len({end.interface for end in ends}) == len(ends)
    assert all(len(end.interface) <= 15 for end in ends)
    owners: dict[str, set[str]] = {}
    for end in ends:
        owners.setdefault(end.ipv4, set()).add(end.node)
        owners.setdefault(end.ipv6, set()).add(end.node)
    assert {address for address, nodes in owners.items() if len(nodes) > 1} == set()


def test_box_has_one_interface_inside_and_one_outside() -> None:
    """Inside leads to the last access router, outside to the first transit router."""
    topology = isp(2, 2, 2)
    neighbours = {interface: end.node for interface, end in topology.nodes["box"].neighbours}
    assert neighbours == {topology.inside_interface: "access2", topology.outside_interface: "transit1"}


def test_wires_have_kinds_and_names_from_the_subscribers_side() -> None:
    """`links:` of a scenario can name a kind or a link."""
    topology = IspTopology(subscribers=1, hops_before_box=1, hops_after_box=2, servers=["mail"])
    assert [(wire.name, wire.kind) for wire in topology.wires] == [
        ("access1-box", LinkKind.TRANSIT),
        ("box-transit1", LinkKind.TRANSIT),
        ("transit1-transit2", LinkKind.TRANSIT),
        ("sim1-access1", LinkKind.ACCESS),
        ("transit2-mail", LinkKind.SERVER),
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"subscribers": 0}, r"expected subscribers from 1 to 200, got 0"),
        ({"hops_before_box": 21}, r"expected hops_before_box from 1 to 20, got 21"),
        ({"hops_after_box": 0}, r"expected hops_after_box from 1 to 20, got 0"),
        ({"servers": ["mail", "mail"]}, r"expected names that differ, got 'mail' twice"),
        ({"servers": ["relay", "relay"]}, r"expected names that differ, got 'relay' twice"),
        ({"servers": ["box"]}, r"expected names that differ, got 'box' twice"),
        ({"servers": ["mail server"]}, r"1 to 10 letters and digits, got 'mail server'"),
        ({"servers": ["averylongname"]}, r"1 to 10 letters and digits, got 'averylongname'"),
        ({"servers": [f"s{n}" for n in range(101)]}, r"from 0 to 100, got 101"),
    ],
)
def test_impossible_topology_is_refused_with_what_was_expected(wrong: dict[str, int], message: str) -> None:
    """Nothing is built half; the message names the value and the limits."""
    with pytest.raises(ValueError, match=message):
        IspTopology(**wrong)  # type: ignore[arg-type]
