"""Postfix's configuration, main.cf and master.cf: everything it needs, nothing of the machine's /etc/postfix.

Text only; `mail_postfix.py` starts what it describes.

Sources: postconf(5), master(5), Postfix's SASL_README and TLS_README.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.services import dovecot
from lab.services.pki import Certificate

QUEUE = "/run/postfix/queue"
DATA = "/run/postfix/data"
"""On a memory file system that only Postfix sees."""

POLICY_PORT = 10_023
"""Of the greylisting policy server, on the host itself; the port that Debian's postgrey has."""

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
virtual_mailbox_maps = {mailboxes}
virtual_transport = lmtp:unix:{run}/{lmtp}
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = {recipient_restrictions}
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

_GREYLISTING = f"check_policy_service inet:127.0.0.1:{POLICY_PORT}"

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


@dataclass(frozen=True, slots=True, kw_only=True)
class PostfixConfig:
    """What is particular to one server; the arguments of `mail_postfix.start`."""

    directory: Path
    daemons: Path
    server_name: str
    certificate: Certificate
    domains: Iterable[str]
    aliases: Mapping[str, str]
    auth_before_tls: bool
    starttls: str
    recipients: str

    def main_cf(self) -> str:
        """The text of main.cf."""
        pairs = ", ".join(f"{{ {address} = {to} }}" for address, to in self.aliases.items())
        return _MAIN.format(
            queue=QUEUE,
            data=DATA,
            daemons=self.daemons,
            directory=self.directory,
            server_name=self.server_name,
            aliases=f"inline:{{ {pairs} }}" if pairs else "",
            domains=", ".join(self.domains),
            run=dovecot.RUN_PLACE,
            lmtp=dovecot.LMTP_SOCKET,
            sasl=dovecot.SASL_SOCKET,
            # Somebody is known, so that everybody else is not (ADDRESS_CLASS_README).
            mailboxes="inline:{ { postmaster@localhost = here } }" if self.recipients == "unknown" else "",
            recipient_restrictions=_GREYLISTING if self.recipients == "greylisted" else "",
            tls_level="none" if self.starttls == "absent" else "may",
            key=self.directory / "postfix" / "empty.pem"
            if self.starttls == "broken"
            else self.certificate.key,
            chain=self.certificate.chain,
        )

    def master_cf(self) -> str:
        """The text of master.cf."""
        before_tls = self.auth_before_tls or self.starttls == "absent"
        return _MASTER.format(tls_before_auth="no" if before_tls else "yes")
