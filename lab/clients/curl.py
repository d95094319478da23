"""What curl's drivers for SMTP, IMAP and the web share: how it is called and what its exit codes mean.

Source: curl(1), section EXIT CODES; libcurl-errors(3).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lab.clients.base import (
    Finished,
    Outcome,
    Target,
    Workplace,
    family_option,
    outcome_of_text,
    program_version,
    run_program,
)
from lab.host import Host
from lab.services.base import find_program

_OUTCOME_OF_STATUS = {
    6: Outcome.NAME_ERROR,
    22: Outcome.REJECTED,
    28: Outcome.TIMEOUT,
    51: Outcome.TLS_ERROR,
    52: Outcome.CONNECTION_CLOSED,
    58: Outcome.TLS_ERROR,
    60: Outcome.TLS_ERROR,
    64: Outcome.TLS_ERROR,
    67: Outcome.AUTH_ERROR,
    78: Outcome.REJECTED,
}
"""Exit codes that say all. Those for a failed connection, handshake, sending or receiving need the message
too.
"""

_CONNECT, _WEIRD_REPLY, _HANDSHAKE, _SEND, _RECEIVE, _USE_SSL_FAILED = 7, 8, 35, 55, 56, 64

_ERROR_NUMBER = {"errno: 104": Outcome.CONNECTION_RESET, "errno: 32": Outcome.CONNECTION_RESET}
_ENDED_IN_HANDSHAKE = re.compile(r"SSL_ERROR_SYSCALL|unexpected eof|error:00000000")
_NEGATIVE_REPLY = re.compile(r"(?:failed: |response: |denied(?:, code|:) )[45]\d\d")


def used_tls(done: Finished) -> bool:
    """Whether a TLS handshake was finished, from the verbose output."""
    return "SSL connection using" in done.stderr


def classify(done: Finished, success: Outcome) -> Outcome:
    """The outcome from exit code and messages; `success` if it is 0.

    A RST that comes before curl has asked how its connection went is told to that question, and then looks like an
    end: there the kernel's counters decide.
    """
    outcome = _told(done, success)
    return Outcome.CONNECTION_RESET if outcome is Outcome.CONNECTION_CLOSED and done.resets else outcome


def _told(done: Finished, success: Outcome) -> Outcome:
    """What curl says of it."""
    status = done.exit_status
    if status is None:
        return Outcome.TIMEOUT
    if status == 0:
        return success
    # The last line is curl's error; those before it tell of addresses tried in vain, too.
    error = next((line for line in reversed(done.stderr.splitlines()) if line.startswith("curl:")), "")
    if status == _USE_SSL_FAILED and _NEGATIVE_REPLY.search(error):
        return Outcome.REJECTED
    if status in _OUTCOME_OF_STATUS:
        return _OUTCOME_OF_STATUS[status]
    for words, outcome in _ERROR_NUMBER.items():
        if words in error:
            return outcome
    named = outcome_of_text(error) or (outcome_of_text(done.stderr) if status == _CONNECT else None)
    if named:
        return named
    if _NEGATIVE_REPLY.search(error):
        return Outcome.REJECTED
    return {
        _HANDSHAKE: Outcome.CONNECTION_CLOSED if _ENDED_IN_HANDSHAKE.search(error) else Outcome.TLS_ERROR,
        _SEND: Outcome.CONNECTION_CLOSED,
        _RECEIVE: Outcome.CONNECTION_CLOSED,
        _WEIRD_REPLY: Outcome.REJECTED,
    }.get(status, Outcome.FAILED)


def run_curl(
    host: Host, target: Target, workplace: Workplace, url: str, options: Sequence[str]
) -> tuple[Finished, str]:
    """Run curl with what the target asks for; returns what became of it and curl's version."""
    program = find_program("curl", package="curl")
    argv = [
        program,
        *["--disable", "--silent", "--show-error", "--verbose", *family_option(target)],
        # Without --capath curl trusts the machine's own authorities as well.
        *(["--cacert", str(target.ca_file), "--capath", str(workplace.directory)] if target.ca_file else []),
        *options,
        url,
    ]
    done = run_program(host, argv, workplace=workplace, time_limit_s=target.time_limit_s, count_resets=True)
    return done, program_version(program)


def login(target: Target) -> list[str]:
    """The options for logging in, none without a password."""
    return [] if target.password is None else ["--user", f"{target.user}:{target.password}"]
