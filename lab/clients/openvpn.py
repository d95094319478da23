"""OpenVPN as a client, over UDP and over TCP: as far as both ends have proved themselves, then it leaves.

It carries nothing (`--dev null`), so it needs no tunnel device and no root. By itself it would try again for ever; it
is given one try.

Source: openvpn(8).
"""

from __future__ import annotations

import re
from functools import partial

from lab.clients.base import (
    Client,
    ClientResult,
    Finished,
    Outcome,
    Target,
    Workplace,
    outcome_of_text,
    program_version,
)
from lab.clients.watched import watch_program
from lab.host import Host
from lab.services.base import find_program
from lab.services.vpn import PORT, TCP_PORT

_TRIES = "link remote:"
"""It has its socket, over TCP its connection, and sends."""
_UP = "Peer Connection Initiated with"
_DISTRUSTED = ("VERIFY ERROR", "certificate verify failed", "TLS_ERROR: BIO read tls_read_plaintext error")
_ENDED = re.compile(r"Connection reset, restarting \[(-?\d+)\]")
"""What reading over TCP gave in the end: 0 at the end of the stream, -1 for an error."""
_TRIES_AGAIN = "process restarting"


def classify(done: Finished) -> Outcome:
    """The outcome from what it printed."""
    if _UP in done.output:
        return Outcome.CONNECTED
    if any(words in done.output for words in _DISTRUSTED):
        return Outcome.TLS_ERROR
    if done.exit_status is None or "TLS key negotiation failed" in done.output:
        return outcome_of_text(done.output) or Outcome.TIMEOUT
    if (ended := _ENDED.search(done.output)) is not None:
        return Outcome.CONNECTION_CLOSED if ended[1] == "0" else Outcome.CONNECTION_RESET
    return outcome_of_text(done.output) or Outcome.FAILED


def run(host: Host, target: Target, *, transport: str) -> ClientResult:
    """Shake hands with the target; `target.identity_file` has chain and key to prove oneself with."""
    program = find_program("openvpn", package="openvpn")
    workplace = Workplace.make(target, "openvpn")
    port = target.port or (PORT if transport == "udp" else TCP_PORT)
    protocol = f"{transport}{target.family or ''}" + ("-client" if transport == "tcp" else "")
    argv = [
        program, "--dev", "null", "--tls-client", "--nobind", "--verb", "3",
        "--remote", target.server_name, str(port), "--proto", protocol,
        "--ca", str(target.ca_file), "--cert", str(target.identity_file), "--key", str(target.identity_file),
        "--remote-cert-tls", "server", "--verify-x509-name", target.server_name, "name",
    ]  # fmt: skip
    done = watch_program(
        host, argv, workplace=workplace, tries=_TRIES, decided_by=(_UP, *_DISTRUSTED, _TRIES_AGAIN),
        time_limit_s=target.time_limit_s,
    )  # fmt: skip
    return done.result(classify(done), program_version(program))


CLIENTS = (
    Client("openvpn", PORT, partial(run, transport="udp"), transport="udp"),
    Client("openvpn-tcp", TCP_PORT, partial(run, transport="tcp")),
)
