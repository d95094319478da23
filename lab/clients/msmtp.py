"""msmtp, a mail client for scripts: strict STARTTLS and TLS from the first byte.

It has no opportunistic mode.

Source: msmtp(1).
"""

from __future__ import annotations

import re

from lab.clients.base import (
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
from lab.clients.senders import senders
from lab.host import Host
from lab.services.base import find_program

_CONFIGURATION = """\
account default
host {host}
port {port}
from {sender}
tls on
tls_starttls {starttls}
tls_trust_file {trust}
tls_host_override {server_name}
syslog off
"""

_LOGIN = """\
auth plain
user {user}
password {password}
"""

_OUTCOME_OF_MESSAGE = (
    ("authentication failed", Outcome.AUTH_ERROR),
    ("the server does not support authentication", Outcome.AUTH_ERROR),
    ("does not support TLS via the STARTTLS command", Outcome.TLS_ERROR),
    # GnuTLS's words for a failed recv(2) or send(2); it keeps the error number to itself.
    ("Error in the pull function", Outcome.CONNECTION_RESET),
    ("Error in the push function", Outcome.CONNECTION_RESET),
    ("the server sent an empty reply", Outcome.CONNECTION_CLOSED),
    ("TLS certificate verification failed", Outcome.TLS_ERROR),
    ("cannot locate host", Outcome.NAME_ERROR),
)

_NEGATIVE_REPLY = re.compile(r"server message: [45]\d\d")


def classify(done: Finished) -> Outcome:
    """The outcome from exit status, messages and, where those leave it open, counters."""
    if done.exit_status is None:
        return Outcome.TIMEOUT
    if done.exit_status == 0:
        # `tls on` leaves no way to send without it.
        return Outcome.DELIVERED
    if "The TLS connection was non-properly terminated" in done.stderr:
        # To GnuTLS the end of the stream when receiving and ECONNRESET when sending are the same.
        return Outcome.CONNECTION_RESET if done.resets else Outcome.CONNECTION_CLOSED
    for words, outcome in _OUTCOME_OF_MESSAGE:
        if words in done.stderr:
            return outcome
    if _NEGATIVE_REPLY.search(done.stderr):
        return Outcome.REJECTED
    named = outcome_of_text(done.stderr)
    if named is None and "TLS handshake failed" in done.stderr:
        return Outcome.TLS_ERROR
    return named or Outcome.FAILED


def run(host: Host, target: Target, *, mode: str, port: int) -> ClientResult:
    """Send the target's mail. mode: submission | implicit."""
    program = find_program("msmtp", package="msmtp")
    workplace = Workplace.make(target, f"msmtp-{mode}")
    # msmtp cannot be told an IP version, so it gets the address; the certificate is checked for the name all
    # the same.
    address = resolve(host, target.server_name, target.family) if target.family else None
    text = _CONFIGURATION.format(
        host=address or target.server_name,
        port=target.port or port,
        sender=target.sender,
        starttls="on" if mode == "submission" else "off",
        trust=target.ca_file or "system",
        server_name=target.server_name,
    )
    if target.password is not None:
        text += _LOGIN.format(user=target.user, password=target.password)
    configuration = workplace.write("msmtprc", text.encode())
    argv = [program, "--debug", f"--file={configuration}", "--", target.recipient]
    done = run_program(
        host,
        argv,
        workplace=workplace,
        time_limit_s=target.time_limit_s,
        input=target.mail(),
        count_resets=True,
    )
    return done.result(classify(done), program_version(program))


CLIENTS = senders("msmtp", run, ("submission", "implicit"))
