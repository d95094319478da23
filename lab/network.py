"""How a topology becomes commands: one batch for the links, one shell script for each node. Text only.

It must never run anything: `lab/lab.py` does, and keeps the text in the run folder to be read.
Sources: ip-link(8), ip-route(8), Linux Documentation/networking/ip-sysctl.rst.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lab.topology import IspTopology, Node, Role

OFFLOADS = ("tso", "gso", "gro", "tx", "rx")
"""Turned off at the ends: with them, captures there show packets of up to 64 kB and unfinished checksums."""

SYSCTLS: Mapping[str, str] = {
    # TCP as most of the Internet's hosts speak it: kernels differ in their defaults (BBR, ECN), runs must not
    # (a namespace may use only what the machine allows everybody; reno is allowed everywhere)
    "net.ipv4.tcp_congestion_control": "cubic|reno",
    "net.ipv4.tcp_timestamps": "1",
    "net.ipv4.tcp_sack": "1",
    "net.ipv4.tcp_window_scaling": "1",
    "net.ipv4.tcp_ecn": "2",
    "net.ipv4.tcp_rmem": "4096 131072 6291456",
    "net.ipv4.tcp_wmem": "4096 16384 4194304",
    # no loss probes: they come after two round trips without an answer, which a busy machine takes at times
    "net.ipv4.tcp_early_retrans": "0",
    # no connection may remember an earlier one
    "net.ipv4.tcp_no_metrics_save": "1",
    "net.ipv4.tcp_fastopen": "0",
    "net.ipv4.ip_local_port_range": "32768 60999",
    # a server may have given up root before it opens its port
    "net.ipv4.ip_unprivileged_port_start": "0",
    # every traceroute gets its answer
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv6.icmp.ratelimit": "0",
    # forged packets have sources that no route points back to
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.conf.all.accept_redirects": "0",
    "net.ipv4.conf.default.accept_redirects": "0",
    # addresses are entered by hand and usable at once; no link-local address, so nobody announces one
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.accept_ra": "0",
    "net.ipv6.conf.default.accept_redirects": "0",
    "net.ipv6.conf.default.addr_gen_mode": "1",
}
"""Set in every node; of several values (`|`) the first that the kernel takes, which the run's facts tell."""

ROUTER_SYSCTLS: Mapping[str, str] = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
}
"""Set in routers and the box besides."""

_PER_INTERFACE = {
    "net.ipv4.conf.{}.rp_filter": "0",
    "net.ipv4.conf.{}.send_redirects": "0",
    "net.ipv6.conf.{}.accept_dad": "0",
    "net.ipv6.conf.{}.accept_ra": "0",
    "net.ipv6.conf.{}.addr_gen_mode": "1",
}
"""For interfaces that exist already when `default` is set."""


def links_batch(topology: IspTopology, pids: Mapping[str, int]) -> str:
    """For `ip -batch`: every link as a veth pair, made in the namespaces where its ends belong.

    pids: a process in each node's namespace, by node name.
    """
    return "".join(
        f"link add name {wire.near.interface} address {wire.near.mac} netns {pids[wire.near.node]} type veth"
        f" peer name {wire.far.interface} address {wire.far.mac} netns {pids[wire.far.node]}\n"
        for wire in topology.wires
    )


def node_script(node: Node, *, offloads: bool, link_lines: Sequence[str] = ()) -> str:
    """For `sh -eu` in the node's namespaces; prints `NAME=VALUE` for each sysctl, no value if none was taken.

    link_lines: shell lines of `lab/link.py`, to be run when the interfaces are up.
    """
    lines = [
        "# made by the lab; what was set on this node",
        "sysctl() {",
        "    name=$1 path=/proc/sys/$2; shift 2",
        '    for value; do { echo "$value" > "$path"; } 2> /dev/null && echo "$name=$value" && return; done',
        '    echo "$name="',
        "}",
        *_sysctl_lines(node),
        "ip -batch - <<'END'",
        *_ip_lines(node),
        "END",
    ]
    if not offloads and node.role in (Role.SUBSCRIBER, Role.SERVER):
        switches = " ".join(f"{name} off" for name in OFFLOADS)
        lines += [f"ethtool -K {end.interface} {switches} > /dev/null" for end in node.ends]
    return "\n".join([*lines, *link_lines]) + "\n"


def _sysctl_lines(node: Node) -> Iterator[str]:
    wanted = dict(SYSCTLS)
    if node.role in (Role.ROUTER, Role.BOX):
        wanted |= ROUTER_SYSCTLS
    paths = {key: key.replace(".", "/") for key in wanted}
    for end in node.ends:
        for key, value in _PER_INTERFACE.items():
            name = key.format(end.interface)
            wanted[name], paths[name] = value, key.replace(".", "/").format(end.interface)
    for name, value in wanted.items():
        alternatives = " ".join(f"'{one}'" for one in value.split("|"))
        yield f"sysctl {name} {paths[name]} {alternatives}"


def _ip_lines(node: Node) -> Iterator[str]:
    yield "link set lo up"
    for end in node.ends:
        yield f"address add {end.ipv4}/32 dev {end.interface}"
        yield f"address add {end.ipv6}/128 dev {end.interface} nodad"
        yield f"link set {end.interface} up"
    for interface, other in node.neighbours:
        for address in (other.ipv4, other.ipv6):
            yield f"neighbour add {address} lladdr {other.mac} dev {interface} nud permanent"
            yield f"route add {address} dev {interface}"
    for route in node.routes:
        yield f"route add {route.to} via {route.via} dev {route.interface}"
