"""A server that does one thing, and that often badly: the innocent causes of what looks like tampering.

Every connection has a process of its own (`misbehaving_server.py`), so one can crash and the others go on. A
behaviour acts at the *moment*: on ports 25 and 587, after a greeting and an EHLO, when the client's STARTTLS has come;
on any other port when the client's first bytes have. What goes over the wire is the kernel's own doing.

    answer           sends back what came, until the client leaves
    crash            the process dies by SIGKILL with the client's bytes unread: RST
    reset            closes with SO_LINGER 0, as servers do to save TIME-WAIT: RST
    reset-when-idle  answers, and ends a connection that was idle for 0.4 s by RST, as load balancers do
    slow             sends back what came, each time after 1.2 s
    tarpit           greets at once and at length, a byte every 0.2 s
    keepalive        answers, then asks an idle client by TCP keepalive whether he is there, and gives up after 2 s

Times are chosen, to be short. Must never: retry, or listen outside its own network namespace.
Sources: RFC 2525 section 2.17 (RST for unread data), socket(7) SO_LINGER, tcp(7) on keepalive.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, start_process

PORTS = (25, 443, 587, 7000)
"""443, 25 and 587 for clients that want TLS or hand over mail; 7000 (chosen) for `tcp-script`."""


def start(host: Host, directory: Path, *, behaviour: str, server_name: str) -> Service:
    """Start the server. behaviour: one of those above."""
    directory.mkdir(parents=True, exist_ok=True)
    server = Path(__file__).with_name("misbehaving_server.py")
    # -P: modules beside the script must not hide libraries of the same name; -S: it needs none.
    argv = [sys.executable, "-P", "-S", str(server), behaviour, server_name, *map(str, PORTS)]
    process = start_process(host, argv, directory)
    facts: dict[str, object] = {
        "program": "misbehaving",
        "behaviour": behaviour,
        "python": platform.python_version(),
    }
    return Service("peer", directory, [process], tuple(Port(n) for n in PORTS), directory / OUTPUT, facts)
