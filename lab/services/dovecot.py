"""Dovecot: IMAP on 143 and 993, POP3 on 110 and 995, and what Postfix needs of it: SASL and LMTP sockets.

An ordinary user runs it (see identity.py), so it works in a single-id sandbox too, and all mail belongs to
the person who runs the lab. Every user's mailbox is a Maildir, `mail/<local part>`; each begins with one mail
of welcome.

Sources: Dovecot 2.3's documentation; RFC 9051, RFC 1939, RFC 8314.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from lab.errors import LabError
from lab.services.base import Host, Port, Service, find_program, start_process
from lab.services.identity import USER, as_ordinary_user
from lab.services.pki import Certificate

PORTS = (110, 143, 993, 995)
PATIENCE_S = 0.05
"""Between SIGTERM and SIGKILL (chosen)."""

RUN_PLACE = "/run/dovecot"
"""Where Dovecot and Postfix see `run_directory`, each in its mount namespace: unix(7) wants short paths."""

SASL_SOCKET, LMTP_SOCKET = "auth-postfix", "lmtp"

# A wrong password must not slow down the next login: no delay, and no penalty (a socket without access).
_CONFIGURATION = """\
base_dir = {run}
state_dir = {directory}/state
instance_name = tamperlab
log_path = {directory}/dovecot.log
protocols = {protocols}
listen = *, ::
ssl = yes
ssl_cert = <{chain}
ssl_key = <{key}
disable_plaintext_auth = {tls_before_login}
auth_mechanisms = plain login
default_internal_user = {user}
default_internal_group = {user}
default_login_user = {user}
mail_location = maildir:{directory}/mail/%n
mail_max_userip_connections = 1000
auth_failure_delay = 0
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={directory}/mail/%n allow_all_users=yes
}}
service imap-login {{
  chroot =
}}
service pop3-login {{
  chroot =
}}
service anvil {{
  chroot =
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  chroot =
}}
service auth {{
  unix_listener {sasl} {{
    mode = 0666
  }}
}}
"""

_LMTP_CONFIGURATION = """\
service lmtp {{
  unix_listener {lmtp} {{
    mode = 0666
  }}
}}
"""

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
    text = _CONFIGURATION.format(
        run=RUN_PLACE,
        directory=directory,
        protocols=" ".join(protocols),
        chain=certificate.chain,
        key=certificate.key,
        tls_before_login="no" if login_before_tls else "yes",
        user=USER,
        sasl=SASL_SOCKET,
    )
    configuration = directory / "dovecot.conf"
    configuration.write_text(text + (_LMTP_CONFIGURATION.format(lmtp=LMTP_SOCKET) if with_lmtp else ""))
    run = run_directory(directory)
    run.mkdir(exist_ok=True)
    argv = as_ordinary_user(
        [program, "-F", "-c", str(configuration)], directory=directory, binds={run: RUN_PLACE}
    )
    process = start_process(host, argv, log=directory / "output.log")
    facts: dict[str, object] = {"program": program, "version": version(program), "users": sorted(users)}
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
