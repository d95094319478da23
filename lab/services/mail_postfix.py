"""The real mail server: Postfix on 25, 587 and 465, with Dovecot for SASL, mailboxes, IMAP and POP3.

Postfix changes users, so it needs the machine's root or a sandbox with a range of ids, in which its users
`postfix` and `postdrop` exist. Its queue lies on a memory file system that only it sees: nothing that belongs
to `postfix` is left behind, however the lab ends. Mail it takes for its domains goes to Dovecot and is found
as files and by IMAP.

Must never: use the machine's own /etc/postfix, queue or service.
Sources: master(8), Postfix's postfix-files, LMTP in Dovecot's documentation.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from email import message_from_bytes
from email.policy import default
from pathlib import Path

from lab.errors import LabError
from lab.host import Host
from lab.services import dovecot
from lab.services.base import READY_POLL_S, Port, Service, find_program, start_process
from lab.services.identity import id_count
from lab.services.mailbox import DeliveredMail
from lab.services.pki import Certificate
from lab.services.postfix_config import DATA, POLICY_PORT, QUEUE, PostfixConfig

PORTS = (25, 465, 587)

DELIVERY_TIMEOUT_S = 30.0
"""How long a mail may be under way (chosen; it takes less than 0.1 s, and 30 s to find that a host is gone)."""

# The folders and owners are those of /etc/postfix/postfix-files; Postfix makes what is below them itself.
_PREPARE = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p {sockets} {queue} {data}
mount --bind "$1" {sockets}
shift
cd {queue}
mkdir -m 700 active bounce corrupt defer deferred flush hold incoming private saved trace
mkdir -m 710 public
mkdir -m 730 maildrop
mkdir -m 755 pid
chown postfix active bounce corrupt defer deferred flush hold incoming private saved trace {data}
chown postfix:postdrop public maildrop
exec "$@"
"""


def start(
    host: Host,
    directory: Path,
    *,
    server_name: str,
    certificate: Certificate,
    users: Mapping[str, str],
    domains: Iterable[str] | None = None,
    aliases: Mapping[str, str] | None = None,
    auth_before_tls: bool = False,
    starttls: str = "offered",
    recipients: str = "taken",
) -> Service:
    """Start Postfix and Dovecot.

    users: user name (with domain) -> password, for SASL, IMAP and POP3
    domains: whose mail is delivered here; None: the domains of `users`
    aliases: address -> address it is delivered to
    auth_before_tls: offer AUTH on port 587, and logins on 143 and 110, before TLS too
    starttls: offered | absent (an operator who never set up TLS, on 25 and 587) | broken (empty key file: gets 454)
    recipients: taken | greylisted (450 at first, then the mail is let in, once) | unknown (550)
    LabError: not installed, or this sandbox has a single id
    """
    program = find_program("postfix", package="postfix libsasl2-modules")
    _check_ids(host)
    config = PostfixConfig(
        directory=directory,
        daemons=Path(postconf("daemon_directory")),
        server_name=server_name,
        certificate=certificate,
        domains=domains or sorted({user.rpartition("@")[2] for user in users}),
        aliases=aliases or {},
        auth_before_tls=auth_before_tls,
        starttls=starttls,
        recipients=recipients,
    )
    mailboxes = directory / "dovecot"
    imap = dovecot.start(
        host,
        mailboxes,
        certificate=certificate,
        users=users,
        login_before_tls=auth_before_tls,
        with_lmtp=True,
    )
    process = start_process(host, _master(config, dovecot.run_directory(mailboxes)), directory)
    policy, policy_ports = _start_policy(host, directory) if recipients == "greylisted" else ([], ())
    facts: dict[str, object] = {
        "program": program,
        "version": postconf("mail_version"),
        "dovecot": imap.facts["version"],
        "server_name": server_name,
        "auth_before_tls": auth_before_tls,
        "starttls": starttls,
        "recipients": recipients,
    }
    processes = [process, *imap.processes, *policy]
    ports = (*map(Port, PORTS), *imap.ports, *policy_ports)
    return Service("mail", directory, processes, ports, directory / "mail.log", facts, imap.patience_s)


def _start_policy(host: Host, directory: Path) -> tuple[list[subprocess.Popen[bytes]], tuple[Port, ...]]:
    """The server that Postfix asks about each recipient, and where it listens."""
    policy = Path(__file__).with_name("greylist_policy.py")
    argv = [sys.executable, "-P", "-S", str(policy), str(POLICY_PORT)]
    return [start_process(host, argv, directory)], (Port(POLICY_PORT),)


def _master(config: PostfixConfig, sockets: Path) -> list[str]:
    """Write the configuration; the argv that starts Postfix with it. sockets: folder of Dovecot's sockets."""
    folder = config.directory / "postfix"
    folder.mkdir(parents=True, exist_ok=True)
    main = folder / "main.cf"
    main.write_text(config.main_cf())
    # Postfix waits until this file is two seconds old: somebody might still be writing it (dict_load_file_xt).
    os.utime(main, (main.stat().st_mtime - 60,) * 2)
    (folder / "master.cf").write_text(config.master_cf())
    (folder / "empty.pem").touch()
    unshare = find_program("unshare", package="util-linux")
    prepare = _PREPARE.format(sockets=dovecot.RUN_PLACE, queue=QUEUE, data=DATA)
    # `master` itself, not the `postfix` command, which first checks an installation that we made just now.
    master = [str(config.daemons / "master"), "-s", "-c", str(folder)]
    return [unshare, "--mount", "/bin/sh", "-ec", prepare, "sh", str(sockets), *master]


def wait_until_delivered(servers: Sequence[Service], *, timeout_s: float = DELIVERY_TIMEOUT_S) -> None:
    """Return when no mail is under way through or between these: Postfix says 250 before the mailbox has the mail.

    A mail that was deferred is not under way. After `timeout_s` it returns all the same.
    """
    deadline = time.monotonic() + timeout_s
    idle = 0
    while idle < 2 and time.monotonic() < deadline:  # a mail can be between two servers while we look
        idle = 0 if any(_mails_under_way(server) for server in servers) else idle + 1
        time.sleep(READY_POLL_S)


def _mails_under_way(server: Service) -> bool:
    """Whether something lies in the queue; the folders in the order in which a mail passes them."""
    queue = Path(f"/proc/{server.processes[0].pid}/root{QUEUE}")
    return any(any((queue / folder).iterdir()) for folder in ("maildrop", "incoming", "active"))


def delivered(directory: Path) -> list[DeliveredMail]:
    """The mails this server put into mailboxes, in order of arrival; read from what was added to their header."""
    paths = [path for path in directory.glob("dovecot/mail/*/*/*") if path.parent.name in ("new", "cur")]
    mails = [path for path in paths if ".welcome" not in path.name]
    return [_read(path) for path in sorted(mails, key=lambda path: path.stat().st_mtime_ns)]


def _read(path: Path) -> DeliveredMail:
    message = message_from_bytes(path.read_bytes(), policy=default)
    received = " ".join(str(line) for line in message.get_all("Received", []) if "(Postfix)" in str(line))
    user = re.search(r"\(Authenticated sender: ([^)]+)\)", received)
    return DeliveredMail(
        path=path,
        # RFC 3848: ESMTPS and ESMTPSA are the protocol types with TLS.
        tls=re.search(r"\bwith ESMTPSA?\b", received) is not None,
        user=user[1] if user else None,
        mail_from=str(message.get("Return-Path", "")).strip("<>"),
        rcpt_tos=tuple(str(address) for address in message.get_all("Delivered-To", [])),
    )


def postconf(name: str) -> str:
    """A built-in default of the installed Postfix, whatever the machine's main.cf says."""
    argv = [find_program("postconf", package="postfix"), "-d", "-h", name]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def _check_ids(host: Host) -> None:
    """LabError: the ids of Postfix's users do not exist in this sandbox."""
    needed = max(pwd.getpwnam("postfix").pw_uid, grp.getgrnam("postdrop").gr_gid)
    count = id_count(host)
    if count <= needed:
        raise LabError(
            f"expected a sandbox with user ids up to {needed} for Postfix, got {count}",
            "apt-get install uidmap and give your user a range in /etc/subuid and /etc/subgid "
            "(usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER), or run as root, "
            "or use `mail: embedded`",
        )
