"""dig: asks the lab's name server one question over UDP, and believes the first answer, as every stub resolver does.

`fetched`: an address in the lab's own server network; `misled`: any other address, which the lab's name server cannot
have told.

Source: dig(1) of BIND 9.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from ipaddress import ip_address, ip_network

from lab.clients.base import (
    Client,
    ClientResult,
    Finished,
    Outcome,
    Target,
    Workplace,
    outcome_of_text,
    program_version,
    resolve,
    run_program,
)
from lab.errors import LabError
from lab.host import Host
from lab.topology import SERVERS_V4, SERVERS_V6

PORT = 53

_STATUS = re.compile(r"status: (\w+)")
_RECORD = re.compile(r"^\S+\s+\d+\s+IN\s+(?:A|AAAA)\s+(\S+)$", re.MULTILINE)
_NETWORKS = (ip_network(SERVERS_V4), ip_network(SERVERS_V6))


def classify(done: Finished) -> Outcome:
    """The outcome from what dig printed: status and addresses of the answer it took."""
    status = _STATUS.search(done.stdout)
    if done.exit_status is None or "no servers could be reached" in done.output:
        return Outcome.TIMEOUT
    if status is None:
        return outcome_of_text(done.output) or Outcome.FAILED
    addresses = [ip_address(text) for text in _RECORD.findall(done.stdout)]
    if status[1] != "NOERROR" or not addresses:
        return Outcome.NAME_ERROR
    honest = all(any(address in network for network in _NETWORKS) for address in addresses)
    return Outcome.FETCHED if honest else Outcome.MISLED


def run(host: Host, target: Target) -> ClientResult:
    """One question. `target.ask`: `host`, the name asked for; `record`: A (as is) or AAAA; `source_port`."""
    program = shutil.which("dig")
    if program is None:
        raise LabError("expected dig, got no such program", "apt install bind9-dnsutils")
    family = target.family or 4
    address = resolve(host, target.server_name, family)
    if address is None:
        return ClientResult(Outcome.NAME_ERROR, None, 0.0, "", _version(), f"resolve {target.server_name}")
    source = "0.0.0.0" if family == 4 else "::"
    port = int(target.ask.get("source_port", 0)) or host.fresh_ports()
    argv = [
        program, f"@{address}", "-p", str(target.port or PORT), f"-{family}",
        "-b", f"{source}#{port}",
        "-q", str(target.ask.get("host", target.server_name)), "-t", str(target.ask.get("record", "A")),
        "+tries=1", f"+time={max(round(target.time_limit_s), 1)}", "+nocookie", "+noall", "+comments", "+answer",
    ]  # fmt: skip
    workplace = Workplace.make(target, "dig")
    done = run_program(host, argv, workplace=workplace, time_limit_s=target.time_limit_s + 5)
    # Its port tells its question from those by which the lab's programs find their servers.
    return replace(done.result(classify(done), _version()), ports=(port,))


def _version() -> str:
    return program_version("dig", "-v")


CLIENTS = (Client("dig", PORT, run, frozenset({"host", "record", "source_port"}), transport="udp"),)
