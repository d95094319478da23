"""WireGuard as a client: py-wg, in Python from end to end, another implementation than the server's.

It is wireguard_child.py, a process of its own on the host, without a tunnel device. `connected`: the handshake is done,
and a datagram that was sent through the tunnel came back through it. A server that does not know the client's key says
nothing, as WireGuard wants it, so that is a timeout.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from lab.clients.base import Client, ClientResult, Finished, Outcome, Target, Workplace, resolve, run_program
from lab.clients.quic import find_report
from lab.host import Host
from lab.services.wireguard import PORT, version

CHILD = Path(__file__).with_name("wireguard_child.py")
PACKAGE = "wireguard-protocol"
STARTS_WITHIN_S = 30.0
"""The child needs a quarter of a second on an idle machine before it tries (chosen)."""

_OUTCOMES = {
    "answered": Outcome.CONNECTED,
    "timeout": Outcome.TIMEOUT,
    "refused": Outcome.REFUSED,
    "unreachable": Outcome.UNREACHABLE,
}


def classify(done: Finished) -> Outcome:
    """The outcome from the child's report."""
    if done.exit_status is None:
        return Outcome.TIMEOUT
    report = find_report(done)
    return Outcome.FAILED if report is None else _OUTCOMES[report[0]]


def run(host: Host, target: Target) -> ClientResult:
    """Shake hands with the target, and talk once; `target.identity_file` has the keys."""
    family = target.family or 4
    name = version(PACKAGE)
    address = resolve(host, target.server_name, family)
    if address is None:
        return ClientResult(Outcome.NAME_ERROR, None, 0.0, "", name, f"resolve {target.server_name}")
    workplace = Workplace.make(target, "wireguard")
    settings = {
        "server": address, "port": target.port or PORT, "family": family, "keys": str(target.identity_file),
        "time_limit_s": target.time_limit_s,
    }  # fmt: skip
    settings_file = workplace.write("settings.json", json.dumps(settings).encode())
    argv = [sys.executable, "-P", str(CHILD), str(settings_file)]
    limit_s = STARTS_WITHIN_S + target.time_limit_s
    done = run_program(host, argv, workplace=workplace, time_limit_s=limit_s)
    report = find_report(done)
    return replace(done.result(classify(done), name), ports=(report[1],) if report else ())


CLIENTS = (Client("wireguard", PORT, run, transport="udp"),)
