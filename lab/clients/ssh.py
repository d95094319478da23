"""OpenSSH's ssh: logs in with a key and runs one command.

Source: ssh(1), ssh_config(5).
"""

from __future__ import annotations

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
from lab.host import Host
from lab.services.base import find_program

PORT = 22
COMMAND, ANSWER = "echo logged $((1 + 1)) in", "logged 2 in"
"""The answer is not part of the command, so only a shell at the other end can have given it."""

_OUTCOME_OF_MESSAGE = (
    ("Permission denied (", Outcome.AUTH_ERROR),
    ("Connection closed by", Outcome.CONNECTION_CLOSED),
    ("Could not resolve hostname", Outcome.NAME_ERROR),
    ("Connection reset by", Outcome.CONNECTION_RESET),
)


def classify(done: Finished) -> Outcome:
    """The outcome from exit status and messages."""
    if done.exit_status is None:
        return Outcome.TIMEOUT
    if done.exit_status == 0 and ANSWER in done.stdout:
        return Outcome.CONNECTED
    # What the C library said comes first: ssh adds its own "Connection closed" to a reset.
    named = outcome_of_text(done.stderr)
    if named:
        return named
    return next((outcome for words, outcome in _OUTCOME_OF_MESSAGE if words in done.stderr), Outcome.FAILED)


def run(host: Host, target: Target) -> ClientResult:
    """Log in as the target's user (the part before @) and run a command."""
    program = find_program("ssh", package="openssh-client")
    workplace = Workplace.make(target, "ssh")
    trust = "yes" if target.known_hosts else "accept-new"
    known_hosts = target.known_hosts or workplace.directory / "known_hosts"
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": trust,
        "UserKnownHostsFile": str(known_hosts),
        "GlobalKnownHostsFile": "none",
    }
    argv = [
        *[program, "-F", "none", *family_option(target), "-p", str(target.port or PORT)],
        *[word for name, value in options.items() for word in ("-o", f"{name}={value}")],
        *(["-i", str(target.identity_file)] if target.identity_file else []),
        *[f"{target.user.partition('@')[0]}@{target.server_name}", COMMAND],
    ]
    done = run_program(host, argv, workplace=workplace, time_limit_s=target.time_limit_s)
    return done.result(classify(done), program_version(program, "-V").partition(",")[0])


CLIENTS = (Client("ssh", PORT, run),)
