"""The IKE server: strongSwan, version 2 on UDP port 500, proving itself by certificate and wanting one of its clients.

Sources: swanctl.conf(5); RFC 7296.
"""

from __future__ import annotations

from pathlib import Path

from lab.host import Host
from lab.services.base import Port, Service
from lab.services.pki import Certificate
from lab.services.strongswan import StrongSwan, version

PORT = 500
NAT_PORT = 4500

_CONNECTIONS = """\
connections {{ lab {{
  version = 2
  childless = force
  mobike = no
  unique = never
  local {{
    auth = pubkey
    certs = {chain}
    id = {name}
  }}
  remote {{
    auth = pubkey
    cacerts = {ca_file}
  }}
}} }}
"""


def start(
    host: Host, directory: Path, *, ca_file: Path, certificate: Certificate, client: Certificate
) -> Service:
    """Start it. client: what clients prove themselves with; facts: `identity_file` has it, chain and key."""
    strongswan = StrongSwan(host, directory, port=PORT, nat_port=NAT_PORT)
    connections = _CONNECTIONS.format(
        chain=certificate.chain.resolve(), name=certificate.names[0], ca_file=ca_file.resolve()
    )
    strongswan.load(connections, key=certificate.key.read_bytes())
    identity = client.write_bundle(directory / "client.pem")
    facts: dict[str, object] = {
        "program": "charon",
        "version": version(),
        "identity_file": str(identity),
    }
    ports = (Port(PORT, "udp"), Port(NAT_PORT, "udp"))
    return Service("ike", directory, [strongswan.process], ports, strongswan.log, facts)
