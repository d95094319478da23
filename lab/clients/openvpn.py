"""OpenVPN as a client, over UDP: as far as both ends have proved themselves, then it leaves.

It carries nothing (`--dev null`), so it needs no tunnel device and no root. By itself it would try for
ever; the time limit ends it.

Source: openvpn(8).
"""

from __future__ import annotations

import os
import selectors
import subprocess
import time

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
from lab.host import Host
from lab.services.base import end_process, find_program
from lab.services.vpn import PORT

_READ_BYTES = 65_536
STARTS_WITHIN_S = 10.0
"""It needs a tenth of a second on an idle machine (chosen)."""
_TRIES = "link remote:"
"""It has its socket and sends."""
_UP = "Peer Connection Initiated with"
_DISTRUSTED = ("VERIFY ERROR", "certificate verify failed", "TLS_ERROR: BIO read tls_read_plaintext error")


def classify(done: Finished) -> Outcome:
    """The outcome from what it printed."""
    if _UP in done.output:
        return Outcome.CONNECTED
    if any(words in done.output for words in _DISTRUSTED):
        return Outcome.TLS_ERROR
    if done.exit_status is None or "TLS key negotiation failed" in done.output:
        return outcome_of_text(done.output) or Outcome.TIMEOUT
    return outcome_of_text(done.output) or Outcome.FAILED


def run(host: Host, target: Target) -> ClientResult:
    """Shake hands with the target; `target.identity_file` has chain and key to prove oneself with."""
    program = find_program("openvpn", package="openvpn")
    workplace = Workplace.make(target, "openvpn")
    argv = [
        program, "--dev", "null", "--tls-client", "--nobind", "--verb", "3",
        "--remote", target.server_name, str(target.port or PORT), "--proto", f"udp{target.family or ''}",
        "--ca", str(target.ca_file), "--cert", str(target.identity_file), "--key", str(target.identity_file),
        "--remote-cert-tls", "server", "--verify-x509-name", target.server_name, "name",
    ]  # fmt: skip
    begin = time.monotonic()
    process = host.popen(
        argv, cwd=workplace.directory, env=workplace.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    text, in_time = _read_until_known(process, target.time_limit_s)
    end_process(process)
    done = Finished(tuple(argv), process.returncode if in_time else None, time.monotonic() - begin, text, "")
    return done.result(classify(done), program_version(program))


def _read_until_known(process: subprocess.Popen[bytes], limit_s: float) -> tuple[str, bool]:
    """What it printed until it was connected, distrusted or ended; False if the time was over before.

    limit_s: how long it may try. It counts from the moment at which it begins to, however long its start has taken.
    """
    deadline = time.monotonic() + STARTS_WITHIN_S + limit_s
    trying = False
    assert process.stdout is not None
    output = process.stdout.fileno()  # without a buffer in which lines could wait unseen
    text = ""
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        while selector.select(max(deadline - time.monotonic(), 0)):
            piece = os.read(output, _READ_BYTES).decode(errors="replace")
            text += piece
            if not piece or any(words in text for words in (_UP, *_DISTRUSTED)):
                return text, True
            if not trying and _TRIES in text:
                trying = True
                deadline = time.monotonic() + limit_s
    return text, False


CLIENTS = (Client("openvpn", PORT, run, transport="udp"),)
