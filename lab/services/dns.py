"""The lab's name server: dnsmasq with the scenario's own names and nothing else.

It never forwards a question, so no query can leave the lab; a name it does not know is answered with
NXDOMAIN.

Source: dnsmasq(8).
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, find_program, start_process

PORT = 53
TTL_S = 60
"""Lifetime of every record (chosen)."""


class Addresses(NamedTuple):
    """What a name stands for, as text; None: no record of that kind."""

    ipv4: str | None
    ipv6: str | None


def start(
    host: Host,
    directory: Path,
    *,
    names: Mapping[str, Addresses],
    mail_exchangers: Mapping[str, str] | None = None,
) -> Service:
    """Serve A, AAAA and PTR records of `names` and MX records (domain -> host name) on UDP and TCP port 53."""
    program = find_program("dnsmasq", package="dnsmasq-base")
    directory.mkdir(parents=True, exist_ok=True)
    argv = [
        program,
        # Debug mode is the foreground mode that changes no user id, which a single-id user namespace forbids.
        "--no-daemon",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--log-queries",
        f"--port={PORT}",
        f"--local-ttl={TTL_S}",
        "--address=/#/",
    ]
    for name, addresses in names.items():
        argv.append("--host-record=" + ",".join([name, *filter(None, addresses)]))
    for domain, exchanger in (mail_exchangers or {}).items():
        argv.append(f"--mx-host={domain},{exchanger},10")
    process = start_process(host, argv, directory)
    facts: dict[str, object] = {"program": program, "version": version(program), "names": sorted(names)}
    return Service("dns", directory, [process], (Port(PORT), Port(PORT, "udp")), directory / OUTPUT, facts)


def version(program: str) -> str:
    """First line of `dnsmasq --version`, without the copyright."""
    text = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return text.splitlines()[0].partition("  ")[0]
