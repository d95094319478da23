"""The WireGuard server: the one inside mitmproxy (boringtun). It needs no tunnel device, no root, no kernel module.

It sends back what comes out of the tunnel in UDP. Each client is a peer with keys and an address inside the tunnel of
its own, for by both the server knows whom to answer. Keys are made for the run and lie in files much as for wg-quick.

Sources: the WireGuard whitepaper; wg-quick(8); RFC 7748 (X25519).
"""

from __future__ import annotations

import base64
import importlib.metadata
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from lab.errors import LabError
from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, start_process

PORT = 15820
"""Not 51820: what recognises VPNs by their port must miss it (chosen)."""
INSIDE = IPv4Network("198.51.100.0/24")
"""Addresses inside the tunnel, the server's first; nobody else sees them."""

_INTERFACE = "[Interface]\nAddress = {address}\nPrivateKey = {private}\n"
_PEER = "[Peer {name}]\nAllowedIPs = {address}\nPublicKey = {public}\n"


@dataclass(frozen=True, slots=True)
class _End:
    """A peer, or the server: its address inside the tunnel, and its key."""

    address: IPv4Address
    key: X25519PrivateKey


def version(package: str) -> str:
    """Of one of the two implementations. LabError: it is not there."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        raise LabError(f"expected the Python package {package}, got none", "make setup-servers") from None


def start(host: Host, directory: Path, *, peers: Sequence[str]) -> Service:
    """Serve until stopped. facts: `identity_files`, name of a peer -> the file that lets it in."""
    facts: dict[str, object] = {"program": "mitmproxy-rs", "version": version("mitmproxy-rs")}
    directory.mkdir(parents=True, exist_ok=True)
    ends = (_End(address, X25519PrivateKey.generate()) for address in INSIDE.hosts())
    server = next(ends)
    known = dict(zip(peers, ends, strict=False))
    configuration = _write_keys(directory / "server.conf", server, known)
    facts["identity_files"] = {
        name: str(_write_keys(directory / f"{name}.conf", client, {"server": server}))
        for name, client in known.items()
    }
    program = Path(__file__).with_name("wireguard_server.py")
    # -P: modules beside the script must not hide libraries of the same name.
    argv = [sys.executable, "-P", str(program), str(PORT), str(configuration)]
    process = start_process(host, argv, directory)
    return Service("wireguard", directory, [process], (Port(PORT, "udp"),), directory / OUTPUT, facts)


def _write_keys(file: Path, own: _End, peers: Mapping[str, _End]) -> Path:
    file.touch(mode=0o600)
    text = _INTERFACE.format(address=own.address, private=_encoded(own.key.private_bytes_raw()))
    for name, peer in peers.items():
        public = _encoded(peer.key.public_key().public_bytes_raw())
        text += _PEER.format(name=name, address=peer.address, public=public)
    file.write_text(text)
    return file


def _encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()
