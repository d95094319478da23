"""The VPN server: OpenVPN over UDP and over TCP, on ports that are not its own.

It carries nothing (`--dev null`): what a lab wants of a VPN is its handshake, and for that no tunnel device and no root
is needed. In this mode an OpenVPN talks to one peer at a time. Over UDP that is the last one that proved itself, so
there is one process for each IP version, and clients should come one after the other. Over TCP each connection is given
an OpenVPN of its own (openvpn_tcp_server.py).

Source: openvpn(8).
"""

from __future__ import annotations

import sys
from pathlib import Path

from lab.clients.base import program_version
from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, find_program, start_process
from lab.services.pki import Certificate

PORT = 5000
"""Over UDP. Not 1194: what recognises VPNs by their port must miss it (chosen)."""
TCP_PORT = 443
"""As is done by those who hope to be taken for the web."""


def start(
    host: Host, directory: Path, *, ca_file: Path, certificate: Certificate, client: Certificate
) -> Service:
    """Start it. client: what clients prove themselves with; facts: `identity_file` has it, chain and key."""
    program = find_program("openvpn", package="openvpn")
    directory.mkdir(parents=True, exist_ok=True)
    identity = client.write_bundle(directory / "client.pem")
    common = [
        program, "--dev", "null", "--tls-server", "--dh", "none", "--verb", "3",
        "--ca", str(ca_file), "--cert", str(certificate.chain), "--key", str(certificate.key),
    ]  # fmt: skip
    udp = [*common, "--port", str(PORT)]
    listener = Path(__file__).with_name("openvpn_tcp_server.py")
    processes = [
        start_process(host, [*udp, "--proto", "udp4"], directory),
        start_process(host, [*udp, "--proto", "udp6", "--bind", "ipv6only"], directory),
        start_process(host, [sys.executable, "-P", str(listener), str(TCP_PORT), *common], directory),
    ]
    facts: dict[str, object] = {
        "program": program,
        "version": program_version(program),
        "identity_file": str(identity),
    }
    return Service(
        "vpn", directory, processes, (Port(PORT, "udp"), Port(TCP_PORT)), directory / OUTPUT, facts
    )
