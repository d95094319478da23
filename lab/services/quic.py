"""A QUIC server (aioquic) on UDP port 443 of the web server's host: sends back what comes, stream by stream.

Must never: listen outside its host's namespace, or speak HTTP/3; for what boxes look at, the first packets are enough.

Sources: RFC 9000; aioquic's documentation.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

from lab.errors import LabError
from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, start_process
from lab.services.pki import Certificate

PORT = 443
ALPN = "lab"
"""The application protocol of the lab's QUIC server and clients: an echo (chosen)."""


def version() -> str:
    """Of aioquic. LabError: it is not there."""
    try:
        return importlib.metadata.version("aioquic")
    except importlib.metadata.PackageNotFoundError:
        raise LabError("expected the Python package aioquic, got none", "pip install aioquic") from None


def start(host: Host, directory: Path, *, certificate: Certificate) -> Service:
    """Serve until stopped."""
    facts: dict[str, object] = {"program": "aioquic", "version": version()}
    directory.mkdir(parents=True, exist_ok=True)
    server = Path(__file__).with_name("quic_server.py")
    # -P: modules beside the script must not hide libraries of the same name.
    argv = [sys.executable, "-P", str(server), str(PORT), ALPN, str(certificate.chain), str(certificate.key)]
    process = start_process(host, argv, directory)
    return Service("quic", directory, [process], (Port(PORT, "udp"),), directory / OUTPUT, facts)
