"""L2TP as a client: xl2tpd makes a tunnel, and a call, which the lab's server refuses. IPv4 only, like the program.

Sources: xl2tpd.conf(5); RFC 2661.
"""

from __future__ import annotations

from lab.clients.base import (
    Client,
    ClientResult,
    Finished,
    Outcome,
    Target,
    Workplace,
    outcome_of_text,
    resolve,
)
from lab.clients.watched import watch_program
from lab.host import Host
from lab.services.base import find_program
from lab.services.l2tp import PORT, command, version

_CLIENT = """\
[global]
port = 0
force userspace = yes
[lac lab]
lns = {address}:{port}
autodial = yes
"""
_TRIES = "Connecting to host"
_UP = "Connection established to"
_OVER = "Connection closed to"
_GIVES_UP = "Maximum retries exceeded"


def classify(done: Finished) -> Outcome:
    """The outcome from what it printed."""
    if _UP in done.output:
        return Outcome.CONNECTED
    if done.exit_status is None or _GIVES_UP in done.output:
        return Outcome.TIMEOUT
    return outcome_of_text(done.output) or Outcome.FAILED


def run(host: Host, target: Target) -> ClientResult:
    """Make a tunnel to the target."""
    program = find_program("xl2tpd", package="xl2tpd")
    name = version(program)
    address = resolve(host, target.server_name, 4)
    if address is None:
        return ClientResult(Outcome.NAME_ERROR, None, 0.0, "", name, f"resolve {target.server_name}")
    workplace = Workplace.make(target, "l2tp")
    argv = command(program, workplace.directory, _CLIENT.format(address=address, port=target.port or PORT))
    done = watch_program(
        host, argv, workplace=workplace, tries=_TRIES, decided_by=(_OVER, _GIVES_UP), time_limit_s=target.time_limit_s
    )  # fmt: skip
    return done.result(classify(done), name)


CLIENTS = (Client("l2tp", PORT, run, transport="udp", families=(4,)),)
