"""The L2TP server: xl2tpd with a configuration of its own, on a port that is not its own. IPv4 only, like the program.

A tunnel comes up; the call that a client then makes is refused, because there is no address for it. So no pppd is ever
started, and no kernel that has PPP is needed. IPsec, in which L2TP is wrapped by those who mean it, would hide it.

Sources: xl2tpd(8), xl2tpd.conf(5); RFC 2661.
"""

from __future__ import annotations

from pathlib import Path

from lab.clients.base import program_version
from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, find_program, start_process

PORT = 17010
"""Not 1701: what recognises VPNs by their port must miss it (chosen)."""

_SERVER = """\
[global]
port = {port}
force userspace = yes
[lns default]
require authentication = no
"""


def command(program: str, directory: Path, configuration: str) -> list[str]:
    """A command line for an xl2tpd that stays in the foreground and keeps all its files in `directory`.

    The files have relative names: it cuts off what is longer than 79 bytes.
    """
    (directory / "xl2tpd.conf").write_text(configuration)
    (directory / "secrets").touch(mode=0o600)
    files = ("-c", "xl2tpd.conf", "-s", "secrets", "-p", "pid", "-C", "control")
    return ["env", "-C", str(directory), program, "-D", *files]


def version(program: str) -> str:
    """Such as `xl2tpd-1.3.18`."""
    return program_version(program, "-v").rpartition(" ")[2]


def start(host: Host, directory: Path) -> Service:
    """Start it."""
    program = find_program("xl2tpd", package="xl2tpd")
    directory.mkdir(parents=True, exist_ok=True)
    process = start_process(host, command(program, directory, _SERVER.format(port=PORT)), directory)
    facts: dict[str, object] = {"program": program, "version": version(program)}
    return Service("l2tp", directory, [process], (Port(PORT, "udp"),), directory / OUTPUT, facts)
