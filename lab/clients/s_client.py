"""openssl s_client: brings up TLS with a mail server, by STARTTLS or at once, and ends the session properly.

Where the server does not offer STARTTLS it tries all the same, so what a box does to that is seen, too.
While it speaks clear text it says nothing about how a connection ended; the kernel's counters do.

Source: openssl-s_client(1).
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
    family_option,
    outcome_of_text,
    program_version,
    run_program,
)
from lab.clients.senders import SMTPS_PORT, SUBMISSION_PORT
from lab.host import Host
from lab.services.base import find_program

_RESET_ERRNO = re.compile(r"errno=(104|32)\b")
"""How s_client prints ECONNRESET and EPIPE, which Linux gives for a RST after a FIN."""

DIALOGUE = b"EHLO client.example\nQUIT\n"


def classify(done: Finished) -> Outcome:
    """The outcome from exit status, messages and counters."""
    if done.exit_status is None:
        return Outcome.TIMEOUT
    if "Verification: OK" in done.stdout and "\n221" in done.stdout:
        return Outcome.CONNECTED
    if done.resets or _RESET_ERRNO.search(done.output):
        return Outcome.CONNECTION_RESET
    named = outcome_of_text(done.stderr)
    if named:
        return named
    if "verify error" in done.output or "SSL routines" in done.stderr and "unexpected eof" not in done.stderr:
        return Outcome.TLS_ERROR
    if "CONNECTED(" in done.stdout:
        return Outcome.CONNECTION_CLOSED
    return Outcome.FAILED


def run(host: Host, target: Target, *, starttls: tuple[str, ...], port: int) -> ClientResult:
    """Bring up TLS and end the session properly. starttls: s_client's options for it."""
    program = find_program("openssl", package="openssl")
    workplace = Workplace.make(target, "openssl")
    argv = [
        *[
            program,
            "s_client",
            *family_option(target),
            "-connect",
            f"{target.server_name}:{target.port or port}",
        ],
        *[*starttls, "-servername", target.server_name, "-verify_hostname", target.server_name],
        *["-verify_return_error", "-no-CApath", "-no-CAstore"],
        *(["-CAfile", str(target.ca_file)] if target.ca_file else ["-no-CAfile"]),
        # -ign_eof: stay after the input's end, until the server has answered QUIT; a line with Q is no
        # command then.
        *["-crlf", "-ign_eof"],
    ]
    done = run_program(
        host, argv, workplace=workplace, time_limit_s=target.time_limit_s, input=DIALOGUE, count_resets=True
    )
    return done.result(classify(done), program_version(program, "version"))


CLIENTS = tuple(
    Client(name, port, partial(run, starttls=starttls, port=port))
    for name, starttls, port in (
        ("openssl-submission", ("-starttls", "smtp"), SUBMISSION_PORT),
        ("openssl-smtps", (), SMTPS_PORT),
    )
)
