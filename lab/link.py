"""Delay, rate, loss and jitter of links: by netem where the kernel has it, else by a delay line of our own.

    netem        `tc qdisc ... netem` on the sending interface
    nfqueue      a router at one end of the link hands packets of both directions to `lab/delay_line.py`,
                 which holds each until it is due

The method is found by trying and recorded in the run's facts. Nothing is delayed on the box itself, by neither:
its captures would show a packet later than it left, and forged packets would wait with genuine ones. So what the
box sends is delayed on the next interface along the way. A link without a delay, rate or loss costs nothing.

This file makes plans and text; it must start nothing but the trial. Its counterpart is `lab/lab.py`.
Sources: tc-netem(8); iptables-extensions(8), NFQUEUE.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum

from lab.topology import End, IspTopology, LinkKind, Wire

QUEUE_LIMIT = 100_000
"""Packets that a link holds at most: above any bandwidth-delay product that one machine can fill."""

FIRST_QUEUE = 40_000
"""NFQUEUE numbers of the delay line count from here."""


class LinkMethod(StrEnum):
    """How a lab's links get their delay."""

    NONE = "none"
    NETEM = "netem"
    NFQUEUE = "nfqueue"


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """What a link does to a packet, each way.

    delay_ns: one-way; jitter_ns: the delay is that much more or less, evenly spread, order kept;
    rate_bits: per second, of IP packets, None: as fast as it goes; loss: share, 0..1;
    reorder: share that is not delayed at all and so overtakes those under way, 0..1.
    ValueError: a value out of range.
    """

    delay_ns: int = 0
    jitter_ns: int = 0
    rate_bits: int | None = None
    loss: float = 0.0
    reorder: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter_ns <= self.delay_ns:
            raise ValueError(
                f"expected 0 <= jitter <= delay, got {self.jitter_ns!r} and {self.delay_ns!r} ns; change one"
            )
        if self.rate_bits is not None and self.rate_bits <= 0:
            raise ValueError(
                f"expected a rate above 0 bit/s, got {self.rate_bits!r}; leave it out for no limit"
            )
        if not 0 <= self.loss <= 1:
            raise ValueError(f"expected a loss from 0 to 1, got {self.loss!r}; 0.01 is one in a hundred")
        if not 0 <= self.reorder <= 1 or (self.reorder and not self.delay_ns):
            raise ValueError(
                f"expected a share of reordered packets from 0 to 1 on a link with a delay, got {self.reorder!r} "
                f"and {self.delay_ns!r} ns; change one"
            )

    @property
    def shapes(self) -> bool:
        """False for a link that passes everything at once."""
        return self != LinkSpec()

    def then(self, other: LinkSpec) -> LinkSpec:
        """Both links one after the other, as one."""
        rates = [rate for rate in (self.rate_bits, other.rate_bits) if rate is not None]
        return LinkSpec(
            delay_ns=self.delay_ns + other.delay_ns,
            jitter_ns=self.jitter_ns + other.jitter_ns,
            rate_bits=min(rates, default=None),
            loss=1 - (1 - self.loss) * (1 - other.loss),
            reorder=1 - (1 - self.reorder) * (1 - other.reorder),
        )


@dataclass(frozen=True, slots=True)
class DelayedDirection:
    """One direction of a link in the delay line: what `node` receives or sends there goes to `queue`."""

    node: str
    interface: str
    received: bool
    queue: int
    spec: LinkSpec


def wire_specs(topology: IspTopology, links: Mapping[str, LinkSpec]) -> list[tuple[Wire, LinkSpec]]:
    """The links that do something, each with what it does.

    links: by kind ('access', 'transit', 'server') or by name ('sim1-access1'), which goes first.
    ValueError: a key that is neither.
    """
    known = {wire.name for wire in topology.wires} | {wire.kind.value for wire in topology.wires}
    for key in links:
        if key not in known:
            raise ValueError(
                f"expected a link of the topology, got {key!r}; there are {', '.join(sorted(known))}"
            )
    found = [(wire, links.get(wire.name, links.get(wire.kind.value, LinkSpec()))) for wire in topology.wires]
    return [(wire, spec) for wire, spec in found if spec.shapes]


def choose_method(specs: Sequence[tuple[Wire, LinkSpec]]) -> LinkMethod:
    """NONE if no link does anything; else what this kernel has, found by trying on this namespace's `lo`."""
    if not specs:
        return LinkMethod.NONE
    add = ["tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms"]
    if subprocess.run(add, capture_output=True, check=False).returncode != 0:
        return LinkMethod.NFQUEUE
    subprocess.run(["tc", "qdisc", "del", "dev", "lo", "root"], capture_output=True, check=True)
    return LinkMethod.NETEM


def plan_netem(
    topology: IspTopology, specs: Sequence[tuple[Wire, LinkSpec]]
) -> dict[tuple[str, str], LinkSpec]:
    """(node, interface) -> what its netem does. What the box would have to do, its neighbour's interfaces do."""
    plan: dict[tuple[str, str], LinkSpec] = {}

    def add(node: str, interface: str, spec: LinkSpec) -> None:
        plan[node, interface] = plan.get((node, interface), LinkSpec()).then(spec)

    for wire, spec in specs:
        for sender, receiver in ((wire.near, wire.far), (wire.far, wire.near)):
            if sender.node != IspTopology.BOX:
                add(sender.node, sender.interface, spec)
                continue
            for onward in topology.nodes[receiver.node].ends:
                if onward.interface != receiver.interface:
                    add(onward.node, onward.interface, spec)
    return plan


def netem_lines(node: str, plan: Mapping[tuple[str, str], LinkSpec]) -> list[str]:
    """Shell lines for `node` that set up its part of the plan."""
    lines = []
    for (owner, interface), spec in plan.items():
        if owner != node:
            continue
        words = [f"tc qdisc add dev {interface} root handle 1: netem limit {QUEUE_LIMIT}"]
        words.append(
            f"delay {spec.delay_ns / 1000:g}us" + (f" {spec.jitter_ns / 1000:g}us" if spec.jitter_ns else "")
        )
        if spec.reorder:
            words.append(f"reorder {100 * spec.reorder:g}%")
        if spec.loss:
            words.append(f"loss {100 * spec.loss:g}%")
        if spec.rate_bits is not None:
            words.append(f"rate {spec.rate_bits}bit")
        lines.append(" ".join(words))
        if spec.jitter_ns and not spec.reorder:
            # a plain queue instead of netem's sorted one keeps the order (tc-netem(8))
            lines.append(f"tc qdisc add dev {interface} parent 1:1 pfifo limit {QUEUE_LIMIT}")
    return lines


def plan_delay_line(specs: Sequence[tuple[Wire, LinkSpec]]) -> list[DelayedDirection]:
    """Two directions for each link, both at the end that is a router and not the box."""
    plan: list[DelayedDirection] = []
    for wire, spec in specs:
        end = _delaying_end(wire)
        for received in (False, True):
            plan.append(DelayedDirection(end.node, end.interface, received, FIRST_QUEUE + len(plan), spec))
    return plan


def _delaying_end(wire: Wire) -> End:
    """The end that is a router: neither the box nor a host, where captures are taken."""
    return wire.far if wire.kind is LinkKind.ACCESS or wire.near.node == IspTopology.BOX else wire.near


def delay_line_lines(node: str, plan: Sequence[DelayedDirection]) -> list[str]:
    """Shell lines for `node` that send its part of the plan to the delay line's queues."""
    rules = []
    for direction in plan:
        if direction.node == node:
            hook = (
                f"PREROUTING -i {direction.interface}"
                if direction.received
                else f"POSTROUTING -o {direction.interface}"
            )
            rules.append(f"-A {hook} -j NFQUEUE --queue-num {direction.queue}")
    if not rules:
        return []
    text = ["*mangle", *rules, "COMMIT", "END"]
    return ["iptables-restore <<'END'", *text, "ip6tables-restore <<'END'", *text]


def delay_line_config(
    plan: Sequence[DelayedDirection], pids: Mapping[str, int], *, seed: int
) -> dict[str, object]:
    """What `lab/delay_line.py` reads. pids: a process in each node's namespace."""
    return {
        "seed": seed,
        "queue_limit": QUEUE_LIMIT,
        "directions": [
            {"pid": pids[direction.node], "queue": direction.queue, **asdict(direction.spec)}
            for direction in plan
        ],
    }
