"""The real mail server: Postfix on 25, 587 and 465, with Dovecot for SASL, mailboxes, IMAP and POP3.

Postfix changes users, so it needs the machine's root or a sandbox with a range of ids, in which its users
`postfix` and `postdrop` exist. Its queue lies on a memory file system that only it sees: nothing that belongs
to `postfix` is left behind, however the lab ends. Mail it takes for its domains goes to Dovecot and is found
as files and by IMAP.

Must never: use the machine's own /etc/postfix, queue or service.
Sources: postconf(5), master(5), master(8), Postfix's SASL_README and TLS_README.
"""

from __future__ import annotations

import grp
import os
import pwd
import re
import subprocess
from collections.abc import Iterable, Mapping
from email import message_from_bytes
from email.policy import default
from pathlib import Path

from lab.errors import LabError
from lab.services import dovecot
from lab.services.base import Host, Port, Service, find_program, start_process
from lab.services.identity import id_count
from lab.services.mailbox import DeliveredMail
from lab.services.pki import Certificate

PORTS = (25, 465, 587)

QUEUE = "/run/postfix/queue"
DATA = "/run/postfix/data"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
meta_directory = {directory}/postfix
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {directory}/mail.log
maillog_file_prefixes = /
myhostname = {server_name}
mydestination =
inet_interfaces = all
inet_protocols = all
mynetworks =
alias_maps =
alias_database =
local_recipient_maps =
virtual_alias_maps = {aliases}
virtual_mailbox_domains = {domains}
virtual_mailbox_maps =
virtual_transport = lmtp:unix:{run}/{lmtp}
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_sasl_type = dovecot
smtpd_sasl_path = {run}/{sasl}
smtpd_tls_security_level = {tls_level}
smtpd_tls_chain_files = {key}, {chain}
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
smtpd_sasl_authenticated_header = yes
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_peername_lookup = no
smtp_tls_security_level = may
smtp_tls_loglevel = 1
"""

# Mail from a subscriber must be logged in for; another server's mail comes in on port 25.
_MASTER = """\
25        inet  n       -       n       -       -       smtpd
587       inet  n       -       n       -       -       smtpd
  -o syslog_name=postfix/submission
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_tls_auth_only={tls_before_auth}
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
465       inet  n       -       n       -       -       smtpd
  -o syslog_name=postfix/smtps
  -o smtpd_tls_security_level=encrypt
  -o smtpd_tls_wrappermode=yes
  -o smtpd_sasl_auth_enable=yes
  -o smtpd_client_restrictions=permit_sasl_authenticated,reject
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""

# The folders and owners are those of /etc/postfix/postfix-files; Postfix makes what is below them itself.
_PREPARE = """
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/dovecot {queue} {data}
mount --bind "$1" /run/dovecot
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
    offer_starttls: bool = True,
) -> Service:
    """Start Postfix and Dovecot.

    users: user name (with domain) -> password, for SASL, IMAP and POP3
    domains: whose mail is delivered here; None: the domains of `users`
    aliases: address -> address it is delivered to
    auth_before_tls: offer AUTH on port 587, and logins on 143 and 110, before TLS too
    offer_starttls: False gives the server of an operator who never set up TLS (ports 25 and 587)
    LabError: not installed, or this sandbox has a single id
    """
    program = find_program("postfix", package="postfix libsasl2-modules")
    _check_ids(host)
    daemons = Path(postconf("daemon_directory"))
    configuration = directory / "postfix"
    configuration.mkdir(parents=True, exist_ok=True)
    mailboxes = directory / "dovecot"
    if domains is None:
        domains = sorted({user.rpartition("@")[2] for user in users})
    pairs = ", ".join(f"{{ {address} = {to} }}" for address, to in (aliases or {}).items())
    main = configuration / "main.cf"
    main.write_text(
        _MAIN.format(
            queue=QUEUE,
            data=DATA,
            daemons=daemons,
            directory=directory,
            server_name=server_name,
            aliases=f"inline:{{ {pairs} }}" if pairs else "",
            domains=", ".join(domains),
            run=dovecot.RUN_PLACE,
            lmtp=dovecot.LMTP_SOCKET,
            sasl=dovecot.SASL_SOCKET,
            tls_level="may" if offer_starttls else "none",
            key=certificate.key,
            chain=certificate.chain,
        )
    )
    # Postfix waits until this file is two seconds old: somebody might still be writing it (dict_load_file_xt).
    os.utime(main, (main.stat().st_mtime - 60,) * 2)
    tls_before_auth = "no" if auth_before_tls or not offer_starttls else "yes"
    (configuration / "master.cf").write_text(_MASTER.format(tls_before_auth=tls_before_auth))
    imap = dovecot.start(
        host,
        mailboxes,
        certificate=certificate,
        users=users,
        login_before_tls=auth_before_tls,
        with_lmtp=True,
    )
    unshare = find_program("unshare", package="util-linux")
    prepare = _PREPARE.format(queue=QUEUE, data=DATA)
    sockets = str(dovecot.run_directory(mailboxes))
    # `master` itself, not the `postfix` command, which first checks an installation that we made just now.
    master = [str(daemons / "master"), "-s", "-c", str(configuration)]
    argv = [unshare, "--mount", "/bin/sh", "-ec", prepare, "sh", sockets, *master]
    process = start_process(host, argv, directory)
    facts: dict[str, object] = {
        "program": program,
        "version": postconf("mail_version"),
        "dovecot": imap.facts["version"],
        "server_name": server_name,
        "auth_before_tls": auth_before_tls,
        "offer_starttls": offer_starttls,
    }
    ports = (*(Port(number) for number in PORTS), *imap.ports)
    return Service(
        "mail", directory, [process, *imap.processes], ports, directory / "mail.log", facts, imap.patience_s
    )


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
