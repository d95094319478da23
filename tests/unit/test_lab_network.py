"""lab/network.py: a topology as commands."""

from __future__ import annotations

import subprocess

from lab.network import OFFLOADS, ROUTER_SYSCTLS, SYSCTLS, links_batch, node_script
from lab.topology import IspTopology


def test_links_batch_makes_every_link_in_its_two_namespaces() -> None:
    """One veth pair for each wire, each end in the namespace of its node."""
    topology = IspTopology(servers=["mail"])
    pids = {name: 1000 + number for number, name in enumerate(topology.nodes)}
    lines = links_batch(topology, pids).splitlines()
    assert len(lines) == len(topology.wires)
    wire = topology.wires[-1]
    assert lines[-1] == (
        f"link add name transit1-eth1 address {wire.near.mac} netns {pids['transit1']} type veth"
        f" peer name mail-eth0 address {wire.far.mac} netns {pids['mail']}"
    )


def test_node_script_is_shell_and_sets_every_sysctl() -> None:
    """`sh -n` takes it; a router forwards, a host does not."""
    topology = IspTopology(servers=["mail"])
    for name, node in topology.nodes.items():
        script = node_script(node, offloads=False)
        done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        words = {line.split()[1] for line in script.splitlines() if line.startswith("sysctl net.")}
        assert set(SYSCTLS) <= words
        assert (set(ROUTER_SYSCTLS) <= words) == (name in ("access1", "box", "transit1"))


def test_node_script_turns_offloads_off_at_the_ends_only() -> None:
    """Hosts show what a wire would show; routers pass on what they get."""
    topology = IspTopology(servers=["mail"])
    with_ethtool = {
        name for name, node in topology.nodes.items() if "ethtool" in node_script(node, offloads=False)
    }
    assert with_ethtool == {"sim1", "mail"}
    script = node_script(topology.nodes["mail"], offloads=False)
    assert all(f"{name} off" in script for name in OFFLOADS)
    assert "ethtool" not in node_script(topology.nodes["mail"], offloads=True)


def test_node_script_runs_the_lines_of_its_links_last() -> None:
    """Queues and qdiscs come when their interfaces are up."""
    node = IspTopology(servers=["mail"]).nodes["access1"]
    assert node_script(node, offloads=True, link_lines=["true", "echo last"]).endswith(
        "END\ntrue\necho last\n"
    )


def test_sysctl_function_takes_the_first_value_that_works_and_says_which() -> None:
    """The function in the script, on files: the second value where the first is refused, none where all are."""
    script = node_script(IspTopology(servers=["mail"]).nodes["mail"], offloads=True)
    function = script[script.index("sysctl() {") : script.index("}\n") + 2].replace("/proc/sys/", "/")
    done = subprocess.run(
        ["sh", "-euc", f"{function}\nsysctl a dev/null x y\nsysctl b dev/full x y\nsysctl c nothing/here x"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == ["a=x", "b=", "c="]
