"""Dovecot: IMAP on 143 and 993, POP3 on 110 and 995, and what Postfix needs of it: SASL and LMTP sockets.

An ordinary user runs it (see identity.py), so it works in a single-id sandbox too, and all mail belongs to
the person who runs the lab. Every user's mailbox is a Maildir, `mail/<local part>`; each begins with one mail
of welcome.

Sources: Dovecot's documentation; RFC 9051, RFC 1939, RFC 8314.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab.errors import LabError
from lab.host import Host
from lab.services.base import Port, Service, find_program, start_process
from lab.services.dovecot_config import configuration
from lab.services.identity import as_ordinary_user
from lab.services.pki import Certificate

PORTS = (110, 143, 993, 995)
PATIENCE_S = 0.05
"""Between SIGTERM and SIGKILL (chosen)."""

RUN_PLACE = "/run/dovecot"
"""Where Dovecot and Postfix see `run_directory`, each in its mount namespace: unix(7) wants short paths."""

SASL_SOCKET, LMTP_SOCKET = "auth-postfix", "lmtp"

_WELCOME = """\
Return-Path: <postmaster@{domain}>
From: postmaster@{domain}
To: {user}
Subject: Welcome
Message-ID: <welcome@{domain}>

Your mailbox is ready.
"""


def start(
    host: Host,
    directory: Path,
    *,
    certificate: Certificate,
    users: Mapping[str, str],
    login_before_tls: bool = False,
    with_lmtp: bool = False,
) -> Service:
    """Start Dovecot.

    users: user name (with domain) -> password
    login_before_tls: allow IMAP and POP3 logins in clear text
    with_lmtp: also take mail, by LMTP, at `run_directory(directory)`/lmtp
    """
    program = find_program("dovecot", package="dovecot-imapd dovecot-pop3d")
    protocols = ["imap", "pop3", *(["lmtp"] if with_lmtp else [])]
    _check_protocols(protocols)
    for folder in ("state", "mail"):
        (directory / folder).mkdir(parents=True, exist_ok=True)
    # Both are read by the server only.
    (directory / "users").write_text("".join(f"{user}:{{PLAIN}}{word}\n" for user, word in users.items()))
    for user in users:
        welcome(directory, user)
    number = version(program)
    text = configuration(
        version=(int(number.split(".")[0]), int(number.split(".")[1])),
        directory=directory,
        run=RUN_PLACE,
        protocols=protocols,
        certificate=certificate,
        login_before_tls=login_before_tls,
        sasl=SASL_SOCKET,
        lmtp=LMTP_SOCKET,
    )
    file = directory / "dovecot.conf"
    file.write_text(text)
    run = run_directory(directory)
    run.mkdir(exist_ok=True)
    argv = as_ordinary_user([program, "-F", "-c", str(file)], directory=directory, binds={run: RUN_PLACE})
    process = start_process(host, argv, directory)
    facts: dict[str, object] = {"program": program, "version": number, "users": sorted(users)}
    ports = tuple(Port(number) for number in PORTS)
    # On SIGTERM Dovecot waits a second for its idle children; there is nothing it could still lose.
    return Service(
        "imap", directory, [process], ports, directory / "dovecot.log", facts, patience_s=PATIENCE_S
    )


def run_directory(directory: Path) -> Path:
    """The folder with the sockets of a Dovecot in `directory`."""
    return directory / "run"


def welcome(directory: Path, user: str) -> None:
    """Put a first mail into a user's mailbox, so that there is always one to fetch."""
    name, _, domain = user.partition("@")
    maildir = directory / "mail" / name
    for folder in ("cur", "new", "tmp"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    (maildir / "new" / "1.welcome.lab").write_text(
        _WELCOME.format(user=user, domain=domain or "mail.example")
    )


def version(program: str) -> str:
    """The version number of Dovecot, such as `2.3.19.1`."""
    return subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.split()[
        0
    ]


def _check_protocols(protocols: list[str]) -> None:
    """LabError: a protocol's own Debian package is not installed."""
    packages = {"imap": "dovecot-imapd", "pop3": "dovecot-pop3d", "lmtp": "dovecot-lmtpd"}
    missing = [packages[name] for name in protocols if not Path("/usr/lib/dovecot", name).exists()]
    if missing:
        raise LabError(
            "expected Dovecot with " + ", ".join(protocols), "apt-get install " + " ".join(missing)
        )
