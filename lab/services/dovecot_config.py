"""Dovecot's configuration, in the language of 2.3 (Debian 12, Ubuntu 22.04 and 24.04) and in that of 2.4 (Debian 13).

2.4 refuses a 2.3 file: settings have other names, variables another syntax, and passdb and userdb are named blocks.
Text only; `dovecot.py` starts what it describes.

Sources: Dovecot 2.3's and 2.4's documentation, "Upgrading Dovecot v2.3 to v2.4".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lab.services.identity import USER
from lab.services.pki import Certificate

_COMMON = """\
base_dir = {run}
state_dir = {directory}/state
instance_name = tamperlab
log_path = {directory}/dovecot.log
protocols = {protocols}
listen = *, ::
ssl = yes
auth_mechanisms = plain login
default_internal_user = {user}
default_internal_group = {user}
default_login_user = {user}
mail_max_userip_connections = 1000
"""

_VERSION_2_3 = """\
ssl_cert = <{chain}
ssl_key = <{key}
disable_plaintext_auth = {tls_before_login}
mail_location = maildir:{directory}/mail/%n
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {directory}/users
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={directory}/mail/%n allow_all_users=yes
}}
"""

_VERSION_2_4 = """\
ssl_server_cert_file = {chain}
ssl_server_key_file = {key}
auth_allow_cleartext = {login_before_tls}
mail_driver = maildir
mail_path = {directory}/mail/%{{user | username}}
passdb passwd-file {{
  default_password_scheme = PLAIN
  passwd_file_path = {directory}/users
}}
userdb static {{
  allow_all_users = yes
  fields {{
    uid = {user}
    gid = {user}
    home = {directory}/mail/%{{user | username}}
  }}
}}
"""

# A wrong password must not slow down the next login: no delay, and no penalty (a socket without access).
_SERVICES = """\
auth_failure_delay = 0
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

_LMTP = """\
service lmtp {{
  unix_listener {lmtp} {{
    mode = 0666
  }}
}}
"""


def configuration(
    *,
    version: tuple[int, int],
    directory: Path,
    run: str,
    protocols: Sequence[str],
    certificate: Certificate,
    login_before_tls: bool,
    sasl: str,
    lmtp: str,
) -> str:
    """The file for a Dovecot of this version. run: its base_dir; sasl, lmtp: names of sockets in it."""
    new = version >= (2, 4)
    head = "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n" if new else ""
    parts = [
        _COMMON,
        _VERSION_2_4 if new else _VERSION_2_3,
        _SERVICES,
        *([_LMTP] if "lmtp" in protocols else []),
    ]
    return head + "".join(parts).format(
        run=run,
        directory=directory,
        protocols=" ".join(protocols),
        user=USER,
        chain=certificate.chain,
        key=certificate.key,
        login_before_tls="yes" if login_before_tls else "no",
        tls_before_login="no" if login_before_tls else "yes",
        sasl=sasl,
        lmtp=lmtp,
    )
