"""A QUIC client (aioquic): a handshake with a name, then a few messages, each of which the server sends back.

It is quic_child.py, a process of its own on the host. `connected`: every message was answered. It can be told where it
comes from (`source_port`), to send a datagram of random bytes first, from the same port (`random`), to wait after it
(`pause`), which version to speak (`quic_version`), and how many Initials its ClientHello shall take (`initials`).
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.clients.base import Client, ClientResult, Finished, Outcome, Target, Workplace, resolve, run_program
from lab.clients.python_smtplib import REPORT_MARK
from lab.host import Host
from lab.services.quic import ALPN, PORT, version

CHILD = Path(__file__).with_name("quic_child.py")

_OUTCOMES = {
    "answered": Outcome.CONNECTED,
    "timeout": Outcome.TIMEOUT,
    "closed": Outcome.CONNECTION_CLOSED,
}


def classify(done: Finished) -> Outcome:
    """The outcome from the child's report."""
    report = find_report(done)
    if done.exit_status is None:
        return Outcome.TIMEOUT
    return Outcome.FAILED if report is None else _OUTCOMES[report[0]]


def find_report(done: Finished) -> tuple[str, int] | None:
    """(how it ended, the client's port), None if it did not get so far."""
    line = next((line for line in done.stdout.splitlines() if line.startswith(REPORT_MARK)), None)
    if line is None:
        return None
    word, port = json.loads(line.removeprefix(REPORT_MARK))
    return word, port


def run(host: Host, target: Target) -> ClientResult:
    """Connect and talk as `target.ask` says."""
    family = target.family or 4
    name = f"aioquic {version()}"
    address = resolve(host, target.server_name, family)
    if address is None:
        return ClientResult(Outcome.NAME_ERROR, None, 0.0, "", name, f"resolve {target.server_name}")
    workplace = Workplace.make(target, "quic")
    settings: dict[str, Any] = {
        "server": address, "port": target.port or PORT, "family": family, "alpn": ALPN,
        "ca_file": str(target.ca_file) if target.ca_file else None, "time_limit_s": target.time_limit_s,
        "host": target.server_name, "source_port": 0, "random": 0, "pause": 0.0, "messages": 1, "apart": 0.0,
        "quic_version": 1, "initials": 1,
    } | dict(target.ask)  # fmt: skip
    settings_file = workplace.write("settings.json", json.dumps(settings).encode())
    done = run_program(
        host,
        [sys.executable, "-P", str(CHILD), str(settings_file)],
        workplace=workplace,
        time_limit_s=target.time_limit_s + settings["pause"] + settings["messages"] * settings["apart"] + 10,
    )
    report = find_report(done)
    return replace(done.result(classify(done), name), ports=(report[1],) if report else ())


CLIENTS = (
    Client(
        "quic",
        PORT,
        run,
        frozenset(
            {"host", "source_port", "random", "pause", "messages", "apart", "quic_version", "initials"}
        ),
        transport="udp",
    ),
)
