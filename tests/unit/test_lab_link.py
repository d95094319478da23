"""lab/link.py: plans for links, as data and text."""

from __future__ import annotations

from itertools import pairwise

import pytest

from lab import link
from lab.link import LinkMethod, LinkSpec
from lab.topology import IspTopology

MS = 1_000_000
SLOW = LinkSpec(delay_ns=5 * MS)


def isp() -> IspTopology:
    """sim1, sim2 - access1 - box - transit1 - transit2 - mail."""
    return IspTopology(subscribers=2, hops_before_box=1, hops_after_box=2, servers=["mail"])


def test_wire_specs_name_goes_before_kind() -> None:
    """A link named by its nodes has its own; the others what their kind has; those without anything are left out."""
    fast_for_one = {"access": SLOW, "sim2-access1": LinkSpec(), "transit2-mail": LinkSpec(loss=0.5)}
    specs = link.wire_specs(isp(), fast_for_one)
    assert {wire.name: spec for wire, spec in specs} == {
        "sim1-access1": SLOW,
        "transit2-mail": LinkSpec(loss=0.5),
    }


def test_wire_specs_unknown_link_is_refused_with_those_that_are_there() -> None:
    """A typing error does not silently mean `no delay`."""
    with pytest.raises(
        ValueError, match=r"expected a link of the topology, got 'acess'; there are access, access1-box"
    ):
        link.wire_specs(isp(), {"acess": SLOW})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"delay_ns": -1}, r"expected 0 <= jitter <= delay, got 0 and -1 ns"),
        ({"delay_ns": 5, "jitter_ns": 6}, r"expected 0 <= jitter <= delay, got 6 and 5 ns"),
        ({"rate_bits": 0}, r"expected a rate above 0 bit/s, got 0"),
        (
            {"reorder": 0.5},
            r"expected a share of reordered packets from 0 to 1 on a link with a delay, got 0\.5",
        ),
        ({"loss": 1.5}, r"expected a loss from 0 to 1, got 1\.5"),
    ],
)
def test_link_spec_out_of_range_is_refused(wrong: dict[str, int], message: str) -> None:
    """The message says what was expected and what was found."""
    with pytest.raises(ValueError, match=message):
        LinkSpec(**wrong)


def test_links_one_after_the_other_add_up() -> None:
    """Delays add, the slower rate counts, what is lost on the first cannot be lost on the second."""
    first = LinkSpec(delay_ns=10, jitter_ns=2, rate_bits=1000, loss=0.5)
    assert first.then(LinkSpec(delay_ns=5, jitter_ns=1, rate_bits=500, loss=0.5)) == LinkSpec(
        15, 3, 500, 0.75
    )
    assert first.then(LinkSpec()) == LinkSpec().then(first) == first


def test_choose_method_without_shaped_links_is_none() -> None:
    """Nothing is tried where nothing is wanted."""
    assert link.choose_method([]) is LinkMethod.NONE


def test_delay_line_takes_both_directions_of_each_link_at_a_router() -> None:
    """Never at the box or at a host, every queue its own number."""
    topology = isp()
    specs = link.wire_specs(topology, {"access": SLOW, "transit": SLOW, "server": SLOW})
    plan = link.plan_delay_line(specs)
    assert len(plan) == 2 * len(topology.wires)
    assert {direction.node for direction in plan} == {"access1", "transit1", "transit2"}
    assert len({direction.queue for direction in plan}) == len(plan)
    assert len({(direction.interface, direction.received) for direction in plan}) == len(plan)


def test_delay_line_rules_hand_sent_and_received_packets_to_their_queues() -> None:
    """Text for iptables-restore and ip6tables-restore; nothing for a node that delays nothing."""
    topology = isp()
    plan = link.plan_delay_line(link.wire_specs(topology, {"sim1-access1": SLOW}))
    rules = [
        "*mangle",
        f"-A POSTROUTING -o access1-eth1 -j NFQUEUE --queue-num {plan[0].queue}",
        f"-A PREROUTING -i access1-eth1 -j NFQUEUE --queue-num {plan[1].queue}",
        "COMMIT",
        "END",
    ]
    expected = ["iptables-restore <<'END'", *rules, "ip6tables-restore <<'END'", *rules]
    assert link.delay_line_lines("access1", plan) == expected
    assert link.delay_line_lines("box", plan) == []


def test_delay_line_config_has_a_pid_a_queue_and_the_spec_for_each_direction() -> None:
    """What the delay line is told is all that it needs."""
    plan = link.plan_delay_line(link.wire_specs(isp(), {"sim1-access1": SLOW}))
    config = link.delay_line_config(plan, {"access1": 42}, seed=7)
    one = {"pid": 42, "delay_ns": 5 * MS, "jitter_ns": 0, "rate_bits": None, "loss": 0.0, "reorder": 0.0}
    assert config == {
        "seed": 7,
        "queue_limit": link.QUEUE_LIMIT,
        "directions": [one | {"queue": link.FIRST_QUEUE}, one | {"queue": link.FIRST_QUEUE + 1}],
    }


def total_delay_ns(topology: IspTopology, plan: dict[tuple[str, str], LinkSpec], way: list[str]) -> int:
    """What netem adds along a way through the nodes."""
    total = 0
    for here, there in pairwise(way):
        (interface,) = [own for own, end in topology.nodes[here].neighbours if end.node == there]
        total += plan.get((here, interface), LinkSpec()).delay_ns
    return total


def test_netem_adds_the_same_delay_along_every_way_and_none_on_the_box() -> None:
    """What the box would have to delay, its neighbour does, there and back, for every pair of ends."""
    topology = isp()
    specs = link.wire_specs(topology, {"access": LinkSpec(delay_ns=15 * MS), "transit": SLOW})
    plan = link.plan_netem(topology, specs)
    assert "box" not in {node for node, _ in plan}
    for sim in ("sim1", "sim2"):
        way = [sim, "access1", "box", "transit1", "transit2", "mail"]
        assert total_delay_ns(topology, plan, way) == 30 * MS
        assert total_delay_ns(topology, plan, way[::-1]) == 30 * MS


def test_netem_lines_are_tc_commands_for_the_nodes_own_interfaces() -> None:
    """Delay in microseconds, loss in per cent, rate in bit; an ordered queue below where there is jitter."""
    spec = LinkSpec(delay_ns=1_500_000, jitter_ns=250_000, rate_bits=8_000_000, loss=0.01)
    plan = {("access1", "access1-eth0"): spec, ("transit1", "transit1-eth0"): SLOW}
    assert link.netem_lines("access1", plan) == [
        f"tc qdisc add dev access1-eth0 root handle 1: netem limit {link.QUEUE_LIMIT}"
        " delay 1500us 250us loss 1% rate 8000000bit",
        f"tc qdisc add dev access1-eth0 parent 1:1 pfifo limit {link.QUEUE_LIMIT}",
    ]
    assert link.netem_lines("transit1", plan) == [
        f"tc qdisc add dev transit1-eth0 root handle 1: netem limit {link.QUEUE_LIMIT} delay 5000us"
    ]
    assert link.netem_lines("box", plan) == []
