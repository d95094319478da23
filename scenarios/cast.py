"""The servers of a scenario on their hosts, and what a client must know to use them.

Must never: decide which client is started when; that is the runner's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast

from lab.clients.base import Action, Target
from lab.host import Host
from lab.lab import Lab
from lab.services import (
    dns,
    dovecot,
    ike,
    l2tp,
    mail_embedded,
    mail_postfix,
    misbehaving,
    pptp,
    quic,
    ssh,
    vpn,
    web,
    wireguard,
)
from lab.services.base import Service
from lab.services.dns import Addresses
from lab.services.pki import Pki
from scenarios.model import SUBSCRIBER_DOMAIN, TARGETS, Fault, Scenario, ScriptLine, Step, host_of

PASSWORD = "s3cr3t-PW"
WEB_ALIASES = (
    "blocked.example", "www.blocked.example", "other.example", "adult.example", "webmail.example",
)  # fmt: skip
"""Names besides its own for which the web server has a certificate: those that boxes block, and one that none does."""
IDENTITIES: Mapping[str, str] = MappingProxyType(
    {"ssh": "ssh", "openvpn": "vpn", "openvpn-tcp": "vpn", "ike": "ike", "wireguard": "wireguard"}
)
"""Client -> the service that lets in only whom it knows, and says in its facts with which `identity_file`."""
_VPNS_WITH_CERTIFICATES = {"vpn": vpn.start, "ike": ike.start}
_OTHER_VPNS = {"l2tp": l2tp.start, "pptp": pptp.start}
ON_HOST_OF: Mapping[str, str] = MappingProxyType(
    {"imap": "mail", "quic": "web"} | dict.fromkeys(("vpn", "ike", "l2tp", "pptp", "wireguard"), "vpn")
)
"""Service -> the host it lives on, where that is not called like itself."""
STEP_HEADER = "X-Tamperlab-Step"
"""Header line of every mail a step sends, `world/family/step`: by it a delivered mail is known, whoever took it."""


def _no_fault(fault: Fault) -> None:
    raise AssertionError(f"nobody is there to make {fault} happen")


@dataclass(slots=True)
class Cast:
    """The running servers. mail_stores: host -> (program, server)."""

    services: dict[str, Service]
    mail_stores: Mapping[str, tuple[str, Service]]
    pki: Pki
    time_scale: float = 1.0

    def wait_ready(self) -> None:
        """LabError: a server ended, or took too long."""
        for service in self.services.values():
            service.wait_ready()

    def stop(self) -> None:
        """End all servers, side by side."""
        with ThreadPoolExecutor(max(len(self.services), 1)) as pool:
            list(pool.map(Service.stop, self.services.values()))

    def wait_until_delivered(self) -> None:
        """Return when every mail that a server took is where it goes."""
        postfix = [server for program, server in self.mail_stores.values() if program == "postfix"]
        mail_postfix.wait_until_delivered(postfix)

    def delivered(self, world: str) -> dict[int, list[str]]:
        """IP version -> host of each mail that a step of that world sent and that reached a store."""
        arrived: dict[int, list[str]] = {}
        for host, (program, server) in self.mail_stores.items():
            module = mail_postfix if program == "postfix" else mail_embedded
            for mail in module.delivered(server.directory):
                sender = _header_of(mail.path)
                if sender is not None and sender[0] == world:
                    arrived.setdefault(sender[1], []).append(host)
        return arrived

    def facts(self) -> dict[str, Any]:
        return {name: service.facts for name, service in self.services.items()}

    def target(
        self,
        step: Step,
        *,
        family: int,
        world: str,
        directory: Path,
        on_fault: Callable[[Fault], None] = _no_fault,
    ) -> Target:
        """What the step's client shall talk to, and as whom. directory: for the client's files, must exist.

        on_fault: makes something go wrong, when the step's script has come to it
        """
        domain = mail_domain(host_of(step.to))
        user = f"alice@{domain}"
        sender, recipient = step.ask.get("sender", user), step.ask.get("recipient", f"bob@{domain}")
        lines = (
            f"From: {sender}", f"To: {recipient}", "Subject: a mail of the lab",
            f"{STEP_HEADER}: {world}/{family}/{step.name}", "", "Hello from the lab.",
            *_filler(step.ask.get("size", 0)), "",
        )  # fmt: skip
        target: dict[str, Any] = {"user": user, "password": PASSWORD if step.login else None}
        if step.timeout_ns is not None:
            target["time_limit_s"] = step.timeout_ns / 1e9
        if (service := self.services.get(IDENTITIES.get(step.client, ""))) is not None:
            facts: dict[str, Any] = service.facts
            own = facts.get("identity_files", {}).get(peer_name(step.on, family))
            target["identity_file"] = Path(own or facts["identity_file"])
            target["known_hosts"] = Path(facts["known_hosts"]) if "known_hosts" in facts else None
            target["user"] = facts.get("user", user)
        return Target(
            server_name=step.to, directory=directory, family=cast(Literal[4, 6], family), port=step.port,
            ca_file=(self.pki if step.trust else Pki(directory / "stranger")).ca_file, sender=sender,
            recipient=recipient, message="\r\n".join(lines).encode(), path=step.path,
            script=tuple(_action(line, on_fault) for line in step.script),
            ask=_by_the_clock(step.ask, self.time_scale), **target,
        )  # fmt: skip


def _by_the_clock(ask: Mapping[str, Any], time_scale: float) -> Mapping[str, Any]:
    """What a client is told, with the times of the box's memory (`later`, `pause`) turned into times of the clock."""
    if "pause" in ask:
        return {**ask, "pause": ask["pause"] * time_scale}
    if "packets" not in ask:
        return ask
    packets = [
        p | {"after_s": p.get("after_s", 0) + p.get("later_s", 0) * time_scale} for p in ask["packets"]
    ]
    return {**ask, "packets": packets}


def _filler(size_bytes: int) -> list[str]:
    """Numbered lines of about so many bytes together: whatever is lost, doubled or moved can be seen."""
    line_bytes = 76
    return [f"line {number:06} ".ljust(line_bytes - 2, "x") for number in range(size_bytes // line_bytes)]


def _action(line: ScriptLine, on_fault: Callable[[Fault], None]) -> Action:
    if line.fault is None:
        return Action(line.verb, line.data, line.size)
    return Action("pause", at_pause=partial(on_fault, line.fault))


def server_hosts(scenario: Scenario) -> list[str]:
    """The hosts of the server network that a scenario needs, the name server first."""
    hosts = [
        host for host, services in TARGETS.values() if any(name in scenario.services for name in services)
    ]
    return ["dns", *(host for host in hosts if host != "dns")]


MAIL_DOMAINS = ("mail.example", "provider.example")


def peer_name(subscriber: str, family: int) -> str:
    """What the WireGuard server calls a subscriber's client."""
    return f"{subscriber}-ipv{family}"


def mail_domain(host: str) -> str:
    return "provider.example" if host == "provider" else "mail.example"


def start_cast(scenario: Scenario, lab: Lab, directory: Path) -> Cast:
    """Start every server; none need be ready yet. LabError: a program is missing."""
    pki = Pki(directory / "pki")
    services: dict[str, Service] = {}
    stores: dict[str, tuple[str, Service]] = {}
    names = {
        name: Addresses(lab.hosts[host].ipv4, lab.hosts[host].ipv6)
        for name, (host, _) in TARGETS.items()
        if host in lab.hosts
    }
    names |= {
        f"{name}{SUBSCRIBER_DOMAIN}": Addresses(lab.hosts[name].ipv4, lab.hosts[name].ipv6)
        for name in lab.topology.subscribers
    }
    if "web" in lab.hosts:
        names |= dict.fromkeys(WEB_ALIASES, names["web.example"])
    services["dns"] = dns.start(lab.hosts["dns"], directory / "dns", names=names)
    for name, program in scenario.services.items():
        if name == "dns":
            continue
        host_name = ON_HOST_OF.get(name, name)
        host, folder = lab.hosts[host_name], directory / name
        server_name = next(server for server, (at, _) in TARGETS.items() if at == host_name)
        if name == "imap" and scenario.services.get("mail") == "postfix":
            continue  # Postfix brings Dovecot along, on the same ports
        if name == "wireguard":
            peers = [peer_name(on, family) for on in lab.topology.subscribers for family in (4, 6)]
            services[name] = wireguard.start(host, folder, peers=peers)
            continue
        settings = scenario.settings.get(name, {})
        services[name] = _start(name, program, host, folder, server_name, pki, settings)
        if name in ("mail", "provider"):
            stores[host_name] = (program, services[name])
    return Cast(services, stores, pki, scenario.time_scale)


def _start(
    name: str,
    program: str,
    host: Host,
    folder: Path,
    server_name: str,
    pki: Pki,
    settings: Mapping[str, str],
) -> Service:
    if name == "ssh":
        return ssh.start(host, folder)
    if name == "peer":
        return misbehaving.start(host, folder, behaviour=program, server_name=server_name)
    if name in _VPNS_WITH_CERTIFICATES:
        server, client = pki.issue([server_name]), pki.issue(["client.example"])
        start_vpn = _VPNS_WITH_CERTIFICATES[name]
        return start_vpn(host, folder, ca_file=pki.ca_file, certificate=server, client=client)
    if name in _OTHER_VPNS:
        return _OTHER_VPNS[name](host, folder)
    if name == "web":
        return web.start(
            host, folder, server_name=server_name, certificate=pki.issue([server_name, *WEB_ALIASES])
        )
    if name == "quic":
        return quic.start(
            host, folder, certificate=pki.issue([WEB_ALIASES[0], server_name, *WEB_ALIASES[1:]])
        )
    certificate = pki.issue([server_name])
    domain = mail_domain(host.name)
    users = {f"{user}@{domain}": PASSWORD for user in ("alice", "bob")}
    login_before_tls = settings.get("login") == "always"
    if name == "imap":
        return dovecot.start(
            host, folder, certificate=certificate, users=users, login_before_tls=login_before_tls
        )
    start = mail_postfix.start if program == "postfix" else mail_embedded.start
    return start(
        host,
        folder,
        server_name=server_name,
        certificate=certificate,
        users=users,
        starttls=settings.get("starttls", "offered"),
        recipients=settings.get("recipients", "taken"),
        auth_before_tls=login_before_tls,
        domains=MAIL_DOMAINS if settings.get("relay") == "open" else [domain],
    )


def _header_of(path: Path) -> tuple[str, int, str] | None:
    """(world, IP version, step) of a mail that a step sent; None for any other mail."""
    prefix = f"{STEP_HEADER}: ".encode()
    for line in path.read_bytes().splitlines():
        if line.startswith(prefix):
            world, family, step = line[len(prefix) :].decode().strip().split("/", 2)
            return world, int(family), step
    return None
