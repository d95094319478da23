"""IKE as a client: strongSwan's charon, told by swanctl to make a connection, until both ends have proved themselves.

Nothing is carried (see `lab.services.strongswan`). `target.identity_file` has chain and key to prove oneself with.

Sources: swanctl(8); RFC 7296.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from lab.clients.base import (
    Client,
    ClientResult,
    Finished,
    Outcome,
    Target,
    Workplace,
    outcome_of_text,
    resolve,
    run_program,
)
from lab.host import Host
from lab.services.ike import PORT
from lab.services.strongswan import StrongSwan, version

_CONNECTIONS = """\
connections {{ lab {{
  version = 2
  childless = force
  mobike = no
  remote_addrs = {address}
  remote_port = {port}
  local {{
    auth = pubkey
    certs = {chain}
  }}
  remote {{
    auth = pubkey
    cacerts = {ca_file}
    id = {name}
  }}
}} }}
"""
_UP = "initiate completed successfully"
_DISTRUSTED = ("no trusted", "constraint check failed")
_REFUSED_LOGIN = "received AUTHENTICATION_FAILED notify error"
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*", re.DOTALL)


def classify(done: Finished) -> Outcome:
    """The outcome from what swanctl printed, which is also what charon noted down meanwhile."""
    if _UP in done.output:
        return Outcome.CONNECTED
    if any(words in done.output for words in _DISTRUSTED):
        return Outcome.TLS_ERROR
    if _REFUSED_LOGIN in done.output:
        return Outcome.AUTH_ERROR
    if done.exit_status is None or "giving up after" in done.output:
        return Outcome.TIMEOUT
    return outcome_of_text(done.output) or Outcome.FAILED


def run(host: Host, target: Target) -> ClientResult:
    """Exchange keys with the target."""
    address = resolve(host, target.server_name, target.family or 4)
    if address is None:
        return ClientResult(Outcome.NAME_ERROR, None, 0.0, "", version(), f"resolve {target.server_name}")
    workplace = Workplace.make(target, "ike")
    strongswan = StrongSwan(host, workplace.directory, port=0, nat_port=0)
    try:
        _introduce(strongswan, workplace, target, address)
        started = replace(workplace, environment=workplace.environment | strongswan.environment)
        done = run_program(
            host, strongswan.swanctl("--initiate", "--ike", "lab"), workplace=started,
            time_limit_s=target.time_limit_s,
        )  # fmt: skip
    finally:
        strongswan.stop()
    return done.result(classify(done), version())


def _introduce(strongswan: StrongSwan, workplace: Workplace, target: Target, address: str) -> None:
    """Tell charon whom it will talk to, and as whom."""
    assert target.identity_file is not None
    assert target.ca_file is not None
    identity = target.identity_file.read_bytes()
    key = _KEY.search(identity)
    assert key is not None
    connections = _CONNECTIONS.format(
        address=address, port=target.port or PORT, name=target.server_name,
        chain=workplace.write("chain.pem", identity[: key.start()]).resolve(), ca_file=Path(target.ca_file).resolve(),
    )  # fmt: skip
    strongswan.load(connections, key=key[0])


CLIENTS = (Client("ike", PORT, run, transport="udp"),)
