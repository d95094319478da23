"""swaks, the SMTP test tool: strict STARTTLS, opportunistic STARTTLS, TLS from the first byte.

swaks says only that a connection ended, never how, so the kernel's counters tell a RST from a FIN.

Source: swaks(1), EXIT CODES and the marks of its transcript (`~` for lines under TLS, `*` for negative replies).
"""

from __future__ import annotations

import re
import signal

from lab.clients.base import (
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
from lab.clients.senders import senders
from lab.errors import LabError
from lab.host import Host
from lab.services.base import find_program

PACKAGES = "swaks libnet-ssleay-perl libio-socket-inet6-perl"
"""Without the libraries swaks has no TLS and no IPv6; Debian only recommends them."""

_TLS_OPTION = {"submission": "--tls", "opportunistic": "--tls-optional", "implicit": "--tls-on-connect"}

_CONNECT, _CLOSED, _LACKING, _AUTH, _TLS = 2, 6, 10, 28, 29
_REPLIES = range(21, 28)
"""Exit codes: no connection, connection lost, a library is missing, login, TLS; a negative reply."""

_MISSING_LIBRARY = re.compile(r"\w+ not available: requires [\w:]+")
_UNTRUSTED = re.compile(r"TLS startup failed \(.*(?:verification failed|did not match target host)")
"""swaks from 20240103 on looks at the certificate when TLS is up; where that is optional it goes on all the same."""
_ACCEPTED = re.compile(r"^ [-~]> \.\n<([-~])  250 ", re.MULTILINE)
_NEGATIVE_REPLY = re.compile(r"^<[-~*]\* +[45]\d\d", re.MULTILINE)


def classify(done: Finished) -> Outcome:
    """The outcome from exit code, transcript and counters."""
    status, text = done.exit_status, done.output
    accepted = _ACCEPTED.search(text)
    if accepted:
        return Outcome.DELIVERED if accepted[1] == "~" else Outcome.CLEAR_TEXT
    if status is None:
        return Outcome.TIMEOUT
    if status == _CONNECT:
        # Nothing but an ICMP error wakes a program that waits for its connection without there being one.
        unreachable = Outcome.UNREACHABLE if "Operation already in progress" in text else Outcome.FAILED
        return outcome_of_text(text) or unreachable
    ended = Outcome.CONNECTION_RESET if done.resets else Outcome.CONNECTION_CLOSED
    if _UNTRUSTED.search(text):
        return Outcome.TLS_ERROR
    if "TLS startup failed" in text:
        return Outcome.TLS_ERROR if "SSL routines" in text and "unexpected eof" not in text else ended
    if status in (_CLOSED, -signal.SIGPIPE) or "closed connection unexpectedly" in text:
        return ended
    if status == _TLS:
        # A negative reply to STARTTLS; without one it was not offered.
        return Outcome.REJECTED if _NEGATIVE_REPLY.search(text) else Outcome.TLS_ERROR
    if status == _AUTH:
        return Outcome.AUTH_ERROR
    return Outcome.REJECTED if status in _REPLIES else Outcome.FAILED


def check_libraries(done: Finished) -> None:
    """LabError: swaks could not do what was asked of it because a Perl library is not installed."""
    if done.exit_status == _LACKING and (missing := _MISSING_LIBRARY.search(done.output)):
        raise LabError(
            f"expected swaks with its libraries, got {missing[0]!r}", f"apt-get install {PACKAGES}"
        )


def run(host: Host, target: Target, *, mode: str, port: int) -> ClientResult:
    """Send the target's mail. mode: submission | opportunistic | implicit."""
    program = find_program("swaks", package=PACKAGES)
    workplace = Workplace.make(target, f"swaks-{mode}")
    argv = [
        program,
        *["--server", target.server_name, "--port", str(target.port or port), *family_option(target)],
        *[_TLS_OPTION[mode], "--tls-verify"],
        *(["--tls-ca-path", str(target.ca_file)] if target.ca_file else []),
        *["--from", target.sender, "--to", target.recipient],
        *["--data", f"@{workplace.write('mail.eml', target.mail())}"],
    ]
    if target.password is not None:
        argv += ["--auth", "PLAIN", "--auth-user", target.user, "--auth-password", target.password]
    done = run_program(host, argv, workplace=workplace, time_limit_s=target.time_limit_s, count_resets=True)
    check_libraries(done)
    return done.result(classify(done), program_version(program))


CLIENTS = senders("swaks", run)
