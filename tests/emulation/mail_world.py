"""A small lab with a mail server and a name server, for tests of services and clients. Works in a sandbox only."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lab.clients.base import ClientResult, Outcome, Target
from lab.clients.registry import CLIENTS
from lab.lab import Lab
from lab.services import dns
from lab.services.base import OUTPUT, Port, Service, start_process
from lab.services.pki import Certificate, Pki
from lab.topology import IspTopology

USERS = {"alice@mail.example": "s3cr3t-PW", "bob@mail.example": "b0b-PW"}
NAME = "mail.example"
WICKED = Path(__file__).with_name("wicked_server.py")


@dataclass
class MailWorld:
    """A lab with `mail` and `dns`, and what a client needs to know of it. certificate: for mail.example."""

    lab: Lab
    directory: Path
    pki: Pki
    certificate: Certificate
    target: Target
    services: contextlib.ExitStack

    def serve(self, service: Service) -> Service:
        """Wait until a service is ready; it ends with the world, or earlier by its own `stop`."""
        self.services.callback(service.stop)
        service.wait_ready()
        return service

    def wicked(self, behaviour: str, port: int, *, starttls: bool = True) -> Service:
        """A server that misbehaves on `port` of the mail host."""
        files = [str(self.certificate.chain), str(self.certificate.key)] if starttls else []
        directory = self.directory / f"wicked-{port}"
        directory.mkdir(exist_ok=True)
        argv = [sys.executable, str(WICKED), str(port), behaviour, *files]
        process = start_process(self.lab.hosts["mail"], argv, directory)
        return self.serve(Service("wicked", directory, [process], (Port(port),), directory / OUTPUT))

    def run(self, client: str, **changes: Any) -> ClientResult:
        """Run a client on the first subscriber's host, with some of the target changed."""
        return CLIENTS[client].run(self.lab.hosts["sim1"], replace(self.target, **changes))

    def outcomes(self, clients: Sequence[str], **changes: Any) -> dict[str, Outcome]:
        """What becomes of each of these clients."""
        return {name: self.run(name, **changes).outcome for name in clients}


def log_entries(directory: Path) -> list[dict[str, Any]]:
    """What the embedded server in this folder wrote about its sessions: lab/services/mail_embedded_server.py."""
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


@contextlib.contextmanager
def mail_world(run_dir: Path) -> Iterator[MailWorld]:
    """Build it and take it down again."""
    topology = IspTopology(subscribers=1, hops_before_box=1, hops_after_box=1, servers=["dns", "mail"])
    with Lab(topology, run_dir=run_dir) as lab, contextlib.ExitStack() as services:
        pki = Pki(run_dir / "pki")
        mail = lab.hosts["mail"]
        target = Target(
            server_name=NAME,
            directory=run_dir,
            password=USERS["alice@mail.example"],
            ca_file=pki.ca_file,
            time_limit_s=10,
        )
        world = MailWorld(lab, run_dir, pki, pki.issue([NAME]), target, services)
        names = {NAME: dns.Addresses(mail.ipv4, mail.ipv6)}
        world.serve(dns.start(lab.hosts["dns"], run_dir / "dns", names=names, mail_exchangers={NAME: NAME}))
        yield world
