"""A probe: no user's program, but one that says exactly what a scenario tells it, for what no real client can do.

    probe-http, probe-tls, probe-send   the kernel's TCP; what is said goes out in the segments and records asked for
    probe-hello                         the same, a ClientHello and nothing after it
    probe-udp                           one datagram
    probe-ip                            one packet of another IP protocol
    probe-packets                       raw packets as they are written, with or without a handshake before them

The probe is tcp_probe_child.py, a process of its own on the host; it reports a word and its port for each connection.
Here the words become one outcome: the first that is no success. Of raw packets the outcome is only that they were sent;
what came of them is in the captures.
"""

from __future__ import annotations

import json
import platform
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.clients.base import Client, ClientResult, Finished, Outcome, Target, Workplace, resolve, run_program
from lab.clients.python_smtplib import OUTCOME_OF_ERRNO, REPORT_MARK
from lab.host import Host

CHILD = Path(__file__).with_name("tcp_probe_child.py")

HTTP_PORT, HTTPS_PORT = 80, 443

LINGER_S = 0.5
"""How long a connection stays open after raw packets were sent in its name (chosen: several round trips)."""

_TALK = frozenset({"host", "segments", "connections", "timestamps", "source_port", "apart"})
_TAKES = {
    "http": _TALK,
    "tls": _TALK | {"records", "tls_version"},
    "hello": _TALK | {"records", "tls_version", "esni"},
    "send": _TALK - {"host"} | {"send", "random"},
    "udp": frozenset({"send", "random", "source_port", "connections", "apart", "ttl"}),
    "ip": frozenset({"send", "protocol"}),
    "packets": _TALK - {"segments"} | {"packets", "handshake", "records", "tls_version", "esni", "random"},
}

_OUTCOME_OF_WORD = {
    "answered": Outcome.FETCHED,
    "sent": Outcome.SENT,
    "closed": Outcome.CONNECTION_CLOSED,
    "timeout": Outcome.TIMEOUT,
}


def classify(done: Finished) -> Outcome:
    """The outcome from the probe's report: of several connections the first that did not succeed."""
    if done.exit_status is None:
        return Outcome.TIMEOUT
    report = find_report(done)
    if not report:
        return Outcome.FAILED
    outcomes = [_outcome(word) for word, _ in report]
    good = (Outcome.FETCHED, Outcome.SENT)
    return next((outcome for outcome in outcomes if outcome not in good), outcomes[0])


def find_report(done: Finished) -> list[tuple[str, int]]:
    """What became of each connection, and its port (0: it had none)."""
    line = next((line for line in done.stdout.splitlines() if line.startswith(REPORT_MARK)), None)
    return [] if line is None else [(word, port) for word, port in json.loads(line.removeprefix(REPORT_MARK))]


def _outcome(word: str) -> Outcome:
    if word.startswith("errno "):
        return OUTCOME_OF_ERRNO.get(int(word.removeprefix("errno ")), Outcome.FAILED)
    return Outcome.TLS_ERROR if word.startswith("tls: ") else _OUTCOME_OF_WORD[word]


def run(host: Host, target: Target, *, kind: str, port: int) -> ClientResult:
    """Do what `target.ask` says. kind: http | tls | hello | send | udp | ip | packets."""
    family = target.family or 4
    address = resolve(host, target.server_name, family)
    if address is None:
        return ClientResult(Outcome.NAME_ERROR, None, 0.0, "", _version(), f"resolve {target.server_name}")
    workplace = Workplace.make(target, f"probe-{kind}")
    settings: dict[str, Any] = {
        "kind": kind, "server": address, "port": target.port or port, "family": family,
        "time_limit_s": target.time_limit_s, "ca_file": str(target.ca_file) if target.ca_file else None,
        "linger_s": LINGER_S, "host": target.server_name, "path": target.path, "segments": [], "records": [],
        "connections": 1, "timestamps": True, "tls_version": "1.3", "send": "", "packets": [], "source_port": None,
        "handshake": False, "esni": False, "random": 0, "apart": 0.0, "ttl": 64,
    } | dict(target.ask)  # fmt: skip
    # Connections of a run are told apart by their ports.
    settings["source_port"] = settings["source_port"] or host.fresh_ports(settings["connections"])
    settings_file = workplace.write("settings.json", json.dumps(settings).encode())
    # -I -S: the child needs only the standard library.
    argv = [sys.executable, "-I", "-S", str(CHILD), str(settings_file)]
    pauses_s = sum(packet.get("after_s", 0) for packet in settings["packets"])
    pauses_s += settings["connections"] * settings["apart"]
    done = run_program(host, argv, workplace=workplace, time_limit_s=target.time_limit_s + pauses_s + 5)
    ports = tuple(port for _, port in find_report(done) if port)
    return replace(done.result(classify(done), _version()), ports=ports)


def _version() -> str:
    return f"Python {platform.python_version()}"


def _client(kind: str, port: int) -> Client:
    name = f"probe-{kind}"
    transport = "udp" if kind == "udp" else "tcp"
    return Client(
        name, port, lambda host, target: run(host, target, kind=kind, port=port), _TAKES[kind], transport
    )


CLIENTS = (
    _client("http", HTTP_PORT),
    _client("tls", HTTPS_PORT),
    _client("hello", HTTPS_PORT),
    _client("send", HTTP_PORT),
    _client("udp", HTTPS_PORT),
    _client("ip", HTTPS_PORT),
    _client("packets", HTTP_PORT),
)
