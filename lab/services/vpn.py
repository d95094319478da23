"""The VPN server: OpenVPN over UDP, on a port that is not its own.

It carries nothing (`--dev null`): what a lab wants of a VPN is its handshake, and for that no tunnel device and no root
is needed. In this mode a server talks to one peer at a time, the last one that proved itself, so there is one process
for each IP version, and clients should come one after the other.

Source: openvpn(8).
"""

from __future__ import annotations

from pathlib import Path

from lab.clients.base import program_version
from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, find_program, start_process
from lab.services.pki import Certificate

PORT = 5000
"""Not 1194: what recognises VPNs by their port must miss it (chosen)."""


def start(
    host: Host, directory: Path, *, ca_file: Path, certificate: Certificate, client: Certificate
) -> Service:
    """Start it. client: what clients prove themselves with; facts: `identity_file` has it, chain and key."""
    program = find_program("openvpn", package="openvpn")
    directory.mkdir(parents=True, exist_ok=True)
    identity = directory / "client.pem"
    identity.touch(mode=0o600)
    identity.write_bytes(client.chain.read_bytes() + client.key.read_bytes())
    common = [
        program, "--dev", "null", "--tls-server", "--port", str(PORT), "--dh", "none", "--verb", "3",
        "--ca", str(ca_file), "--cert", str(certificate.chain), "--key", str(certificate.key),
    ]  # fmt: skip
    processes = [
        start_process(host, [*common, "--proto", "udp4"], directory),
        start_process(host, [*common, "--proto", "udp6", "--bind", "ipv6only"], directory),
    ]
    facts: dict[str, object] = {
        "program": program,
        "version": program_version(program),
        "identity_file": str(identity),
    }
    return Service("vpn", directory, processes, (Port(PORT, "udp"),), directory / OUTPUT, facts)
