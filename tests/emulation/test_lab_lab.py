"""Emulation: the lab as root and as an ordinary user, several at a time, gone at its end."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab import sandbox
from lab.errors import LabError
from lab.lab import Lab
from lab.topology import IspTopology

USERS = pytest.mark.parametrize("user", ["root", "ordinary"])

PING = ["ping", "-c", "1", "-W", "2"]


def small() -> IspTopology:
    """Two subscribers, two hops before the box, two after it."""
    return IspTopology(subscribers=2, hops_before_box=2, hops_after_box=2, servers=["dns", "mail", "relay"])


@pytest.mark.sandboxed
@USERS
def test_lab_every_host_reaches_every_other_over_both_families(user: str, run_dir: Path) -> None:
    """All pairs of hosts, and host and box, reach each other at once over IPv4 and IPv6."""
    with Lab(small(), run_dir=run_dir) as lab:
        # Whether an ordinary user has more ids than one is the machine's business.
        assert (lab.facts["sandbox"]["mode"] == "root") is (user == "root")
        pings = {
            (source.name, address): source.popen([*PING, address], stdout=subprocess.DEVNULL)
            for source in lab.hosts.values()
            for target in lab.hosts.values()
            for address in (target.ipv4, target.ipv6)
        }
        assert {pair for pair, ping in pings.items() if ping.wait() != 0} == set()


@pytest.mark.sandboxed
@USERS
def test_lab_path_has_as_many_hops_as_asked_for(user: str, run_dir: Path) -> None:
    """The TTL tells the hops: two access routers, the box and two transit routers each take one."""
    with Lab(small(), run_dir=run_dir) as lab:
        for address in (lab.hosts["mail"].ipv4, lab.hosts["mail"].ipv6):
            said = lab.hosts["sim1"].run([*PING, address], timeout_s=30).stdout.decode()
            assert "ttl=59 " in said, said


@pytest.mark.sandboxed
@USERS
def test_lab_traffic_passes_the_box_with_its_sides_as_named(user: str, run_dir: Path) -> None:
    """What subscribers send enters the box inside and leaves it outside, shown by the interfaces' counters."""
    with Lab(small(), run_dir=run_dir) as lab:
        for _ in range(10):
            lab.hosts["sim1"].run([*PING, lab.hosts["mail"].ipv4], timeout_s=30)
        rows = Path(f"/proc/{lab.box.pid}/net/dev").read_text().splitlines()[2:]
        received = {row.split(":")[0].strip(): int(row.split()[2]) for row in rows}
        assert received[lab.box.inside_interface] >= 10
        assert received[lab.box.outside_interface] >= 10
        assert lab.box.interfaces == [lab.box.inside_interface, lab.box.outside_interface]


@pytest.mark.sandboxed
def test_lab_stop_ends_every_process_and_leaves_no_node(run_dir: Path) -> None:
    """After the lab, programs left running and daemons that hid from their parent are gone, nodes and links too."""
    before = {path.name for path in Path("/proc").glob("[0-9]*")}
    with Lab(small(), run_dir=run_dir) as lab:
        sleeper = lab.hosts["mail"].popen(["sleep", "1000"])
        lab.hosts["mail"].run(["sh", "-c", "setsid setsid sleep 1001 > /dev/null 2>&1 &"], timeout_s=30)
    assert sleeper.returncode is not None
    after = {path.name for path in Path("/proc").glob("[0-9]*") if is_alive(path)}
    assert after <= before
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in links.splitlines()] == ["lo"]


def is_alive(process: Path) -> bool:
    """False for one that has ended and that init has not reaped yet."""
    try:
        return "\nState:\tZ" not in (process / "status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.sandboxed
def test_lab_names_resolve_in_the_lab_only_and_the_machines_files_come_back(run_dir: Path) -> None:
    """Inside, resolv.conf names the lab's DNS and hosts knows only the lab; after it the machine's are there."""
    before = [Path("/etc", name).read_text() for name in ("resolv.conf", "hosts")]
    with Lab(small(), run_dir=run_dir) as lab:
        seen = lab.hosts["sim1"].run(["cat", "/etc/resolv.conf", "/etc/hosts"], timeout_s=30).stdout.decode()
        assert "nameserver 203.0.113.53\nnameserver 2001:db8:3::53\n" in seen
        assert before[1] not in seen
    assert [Path("/etc", name).read_text() for name in ("resolv.conf", "hosts")] == before


@pytest.mark.sandboxed
def test_lab_facts_are_what_nodes_have(run_dir: Path) -> None:
    """The sysctls in the facts are those that a host and the box really have."""
    with Lab(small(), run_dir=run_dir) as lab:
        for name, value in lab.facts["sysctls"].items():
            path = "/proc/sys/" + name.replace(".", "/")
            for host in (lab.box, lab.hosts["mail"]):
                if host.name == "mail" and name in ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"):
                    continue
                have = host.run(["cat", path], timeout_s=30).stdout.decode()
                assert have.split() == value.split(), (host, name)
        offloads = lab.hosts["mail"].run(["ethtool", "-k", "mail-eth0"], timeout_s=30).stdout.decode()
        assert "tcp-segmentation-offload: off" in offloads
        assert "generic-receive-offload: off" in offloads
        assert lab.facts["links"]["method"] == "none"


@pytest.mark.sandboxed
def test_two_labs_at_once_do_not_see_each_other(run_dir: Path) -> None:
    """Two labs with the same addresses run side by side, each host reached being its own lab's."""
    (run_dir / "a").mkdir()
    (run_dir / "b").mkdir()
    with Lab(small(), run_dir=run_dir / "a") as a, Lab(small(), run_dir=run_dir / "b") as b:
        server = a.hosts["mail"].popen(["python3", "-m", "http.server", "8000"], stderr=subprocess.DEVNULL)
        a.hosts["mail"].wait_for_port(8000, timeout_s=30)
        assert not b.hosts["mail"].listens_on(8000)
        fetch = ["curl", "-s", "-o", "/dev/null", f"http://{a.hosts['mail'].ipv4}:8000/"]
        assert a.hosts["sim1"].run(fetch, timeout_s=30).returncode == 0
        assert b.hosts["sim1"].run(fetch, timeout_s=30).returncode == 7, "curl: connection refused"
        assert server.poll() is None


def test_lab_outside_a_sandbox_is_refused(tmp_path: Path) -> None:
    """On the machine itself a lab says what to do and makes nothing."""
    assert not sandbox.inside()
    with (
        pytest.raises(LabError, match=r"got the machine itself; call lab\.sandbox\.enter"),
        Lab(small(), run_dir=tmp_path),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sandboxed
def test_lab_that_cannot_start_says_why_and_leaves_nothing(run_dir: Path) -> None:
    """A topology that the kernel refuses is a LabError that names the command, and no node stays."""
    topology = small()
    topology.nodes["mail"].routes.append(topology.nodes["box"].routes[0])
    lab = Lab(topology, run_dir=run_dir)
    with pytest.raises(LabError, match=r"expected network/mail\.sh to succeed, got .*make doctor"), lab:
        pass
    assert not any(Path(f"/proc/{host.pid}").exists() for host in lab.hosts.values())
