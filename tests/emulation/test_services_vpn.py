"""VPN servers and clients, each with the other: real programs at both ends, without root and without tunnel devices."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.clients.base import Outcome
from lab.sandbox import program_path
from lab.services import ike, l2tp, pptp, vpn, wireguard
from lab.services.base import Service
from lab.services.pki import Pki
from tests.emulation.conftest import wait_until
from tests.emulation.mail_world import MailWorld, mail_world

USERS_OF_THE_LAB = pytest.mark.parametrize("user", ["root", "mapped", "ordinary"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skips a test where one of these is not installed."""
    missing = [name for name in programs if shutil.which(name, path=program_path()) is None]
    return pytest.mark.skipif(
        bool(missing),
        reason=f"no {' '.join(missing)}: `make setup-servers` installs it where the system has it",
    )


needs_wireguard = pytest.mark.skipif(
    importlib.util.find_spec("mitmproxy_rs") is None or importlib.util.find_spec("wireguard") is None,
    reason="no WireGuard for this kind of processor: `make setup-servers` installs it where there is one",
)


def certified(start: Callable[..., Service], world: MailWorld) -> Service:
    """A server on the mail host that proves itself as mail.example and takes clients of the run's authority."""
    service = start(
        world.lab.hosts["mail"], world.directory / "vpn",
        ca_file=world.pki.ca_file, certificate=world.certificate, client=world.pki.issue(["client.example"]),
    )  # fmt: skip
    return world.serve(service)


def known(service: Service, **more: Any) -> dict[str, Any]:
    """What a client must have to be let in."""
    return {"identity_file": Path(str(service.facts["identity_file"])), **more}


def keys_of(service: Service) -> list[dict[str, Any]]:
    """What each peer of a WireGuard server must have to be let in."""
    files: Any = service.facts["identity_files"]
    return [{"identity_file": Path(file)} for file in files.values()]


def processes_of(world: MailWorld) -> set[str]:
    """Names of the programs that run on the mail host, besides the shell that holds it."""
    mail = world.lab.hosts["mail"]
    here = Path(f"/proc/{mail.pid}/ns/net").readlink()
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if process.name != str(mail.pid) and (process / "ns/net").readlink() == here:
                found.add((process / "comm").read_text().strip())
        except OSError:  # it has ended meanwhile
            continue
    return found


def assert_leaves_nothing(world: MailWorld, service: Service) -> None:
    """After `stop` no process of the service is left on its host."""
    assert processes_of(world)
    service.stop()
    wait_until(lambda: processes_of(world) == set())


@needs("openvpn")
@pytest.mark.sandboxed
@USERS_OF_THE_LAB
@FAMILIES
def test_openvpn_comes_up_for_who_can_prove_himself(user: str, family: int, run_dir: Path) -> None:
    """Over UDP and over TCP; a server of somebody else's is distrusted."""
    with mail_world(run_dir) as world:
        service = certified(vpn.start, world)
        let_in = known(service, family=family)
        stranger = Pki(run_dir / "stranger").ca_file
        for client in ("openvpn", "openvpn-tcp"):
            assert world.run(client, **let_in).outcome is Outcome.CONNECTED
            assert world.run(client, **let_in, ca_file=stranger).outcome is Outcome.TLS_ERROR
        assert_leaves_nothing(world, service)


@needs("openvpn")
@pytest.mark.sandboxed
def test_openvpn_over_tcp_serves_several_at_once(run_dir: Path) -> None:
    """Clients over TCP need not wait for each other, nor for one that never says anything."""
    with mail_world(run_dir) as world:
        service = certified(vpn.start, world)
        mail = world.lab.hosts["mail"]
        silent = f"exec 3<>/dev/tcp/{mail.ipv4}/{vpn.TCP_PORT}; echo up; exec sleep 60"
        world.lab.hosts["sim1"].popen(["bash", "-c", silent])
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(world.run, "openvpn-tcp", **known(service)) for _ in range(3)]
            assert [run.result().outcome for run in runs] == [Outcome.CONNECTED] * 3


@needs("swanctl", "/usr/lib/ipsec/charon")
@pytest.mark.sandboxed
@USERS_OF_THE_LAB
@FAMILIES
def test_ike_comes_up_for_who_can_prove_himself(user: str, family: int, run_dir: Path) -> None:
    """Each end wants to see the other's certificate; neither takes one of somebody else's."""
    with mail_world(run_dir) as world:
        service = certified(ike.start, world)
        let_in = known(service, family=family)
        assert world.run("ike", **let_in).outcome is Outcome.CONNECTED
        stranger = Pki(run_dir / "stranger")
        assert world.run("ike", **let_in, ca_file=stranger.ca_file).outcome is Outcome.TLS_ERROR
        other = stranger.issue(["client.example"]).write_bundle(run_dir / "other.pem")
        assert world.run("ike", **let_in | {"identity_file": other}).outcome is Outcome.AUTH_ERROR
        assert_leaves_nothing(world, service)


@needs("xl2tpd")
@pytest.mark.sandboxed
@USERS_OF_THE_LAB
def test_l2tp_makes_its_tunnel(user: str, run_dir: Path) -> None:
    """On a port that is not its own, and no pppd is ever started."""
    with mail_world(run_dir) as world:
        service = world.serve(l2tp.start(world.lab.hosts["mail"], run_dir / "l2tp"))
        done = world.run("l2tp", family=4)
        assert done.outcome is Outcome.CONNECTED
        assert "pppd" not in done.output + service.log.read_text()
        assert_leaves_nothing(world, service)


@needs("pptp", "pptpd")
@pytest.mark.sandboxed
@USERS_OF_THE_LAB
def test_pptp_carries_a_frame_there_and_back(user: str, run_dir: Path) -> None:
    """The control connection makes the call, and GRE carries what is said."""
    with mail_world(run_dir) as world:
        service = world.serve(pptp.start(world.lab.hosts["mail"], run_dir / "pptp"))
        assert world.run("pptp", family=4).outcome is Outcome.CONNECTED
        assert_leaves_nothing(world, service)


@needs_wireguard
@pytest.mark.sandboxed
@USERS_OF_THE_LAB
@FAMILIES
def test_wireguard_carries_a_datagram_there_and_back(user: str, family: int, run_dir: Path) -> None:
    """Two implementations that do not know each other, two clients at once; a key of elsewhere gets no answer."""
    with mail_world(run_dir) as world:
        mail = world.lab.hosts["mail"]
        service = world.serve(wireguard.start(mail, run_dir / "wireguard", peers=["one", "two"]))
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(world.run, "wireguard", **key, family=family) for key in keys_of(service)]
            assert [run.result().outcome for run in runs] == [Outcome.CONNECTED] * 2
        stranger = wireguard.start(world.lab.hosts["dns"], run_dir / "stranger", peers=["one"])
        world.services.callback(stranger.stop)
        [key] = keys_of(stranger)
        assert world.run("wireguard", **key, family=family, time_limit_s=0.5).outcome is Outcome.TIMEOUT
        assert_leaves_nothing(world, service)


DEAF_TO_ICMP = ("ike", "l2tp")
"""Programs that do not care for what ICMP says, and go on trying."""


@needs("openvpn", "swanctl", "/usr/lib/ipsec/charon", "xl2tpd", "pptp")
@needs_wireguard
@pytest.mark.sandboxed
@pytest.mark.parametrize("client", ["openvpn", "openvpn-tcp", "ike", "l2tp", "pptp", "wireguard"])
def test_vpn_clients_name_what_kept_them_from_coming_up(client: str, run_dir: Path) -> None:
    """Nobody at that port, and no such name: the word tells them apart."""
    with mail_world(run_dir) as world:
        if client == "wireguard":
            elsewhere = wireguard.start(world.lab.hosts["dns"], run_dir / "elsewhere", peers=["one"])
            world.services.callback(elsewhere.stop)
            keys = keys_of(elsewhere)[0]["identity_file"]
        else:
            keys = world.pki.issue(["client.example"]).write_bundle(run_dir / "client.pem")
        expected, limit_s = (Outcome.TIMEOUT, 1) if client in DEAF_TO_ICMP else (Outcome.REFUSED, 20)
        tries = {"family": 4, "identity_file": keys, "time_limit_s": limit_s}
        assert world.run(client, **tries).outcome is expected
        assert world.run(client, **tries, server_name="nobody.example").outcome is Outcome.NAME_ERROR


@needs("openvpn", "pptp")
@pytest.mark.sandboxed
@pytest.mark.parametrize(("client", "port"), [("openvpn-tcp", vpn.TCP_PORT), ("pptp", pptp.PORT)])
def test_vpn_clients_over_tcp_name_what_ended_their_connection(client: str, port: int, run_dir: Path) -> None:
    """A RST in answer to the first message, though neither program says so, and silence."""
    with mail_world(run_dir) as world:
        keys = world.pki.issue(["client.example"]).write_bundle(run_dir / "client.pem")
        tries = {"family": 4, "identity_file": keys, "time_limit_s": 4}
        resetting = world.wicked("reset-on-hello", port, starttls=False)
        assert world.run(client, **tries).outcome is Outcome.CONNECTION_RESET
        resetting.stop()
        world.wicked("silent", port, starttls=False)
        assert world.run(client, **tries).outcome is Outcome.TIMEOUT
