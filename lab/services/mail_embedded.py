"""The embedded mail server, seen from the lab: aiosmtpd in a process of its own on the host.

Port 25 takes mail for its own domain, 587 (STARTTLS) and 465 (TLS from the first byte) want AUTH, all over
IPv4 and IPv6. Delivered mail is `mail/<n>.eml` with its envelope in `mail/<n>.json`; `log.jsonl` says what
happened, one object a line (see mail_embedded_server.py, the process itself).

Sources: aiosmtpd's documentation; RFC 6409 (submission), RFC 8314 (implicit TLS).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path

from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, start_process
from lab.services.mailbox import DeliveredMail
from lab.services.pki import Certificate

PORTS = (25, 465, 587)


def start(
    host: Host,
    directory: Path,
    *,
    server_name: str,
    certificate: Certificate,
    users: Mapping[str, str],
    domains: Iterable[str] | None = None,
    auth_before_tls: bool = False,
    starttls: str = "offered",
    recipients: str = "taken",
) -> Service:
    """Start the server.

    users: user name -> password
    domains: for which port 25 takes mail; None: those of `users`
    auth_before_tls: offer AUTH on port 587 before TLS too, as servers that allow clear text do
    starttls: offered | absent (an operator who never set up TLS, on ports 25 and 587) | broken (offered, gets 454)
    recipients: taken | greylisted (450 at first, then the mail is let in, once) | unknown (550)
    """
    (directory / "mail").mkdir(parents=True, exist_ok=True)
    settings = {
        "server_name": server_name,
        "chain": str(certificate.chain),
        "key": str(certificate.key),
        "users": dict(users),
        "domains": sorted({user.rpartition("@")[2] for user in users} if domains is None else domains),
        "auth_before_tls": auth_before_tls,
        "starttls": starttls,
        "recipients": recipients,
        "directory": str(directory),
    }
    settings_file = directory / "settings.json"
    settings_file.write_text(json.dumps(settings, indent=1))
    server = Path(__file__).with_name("mail_embedded_server.py")
    # -P: modules beside the script (dns.py, ssh.py …) must not hide libraries of the same name.
    process = start_process(host, [sys.executable, "-P", str(server), str(settings_file)], directory)
    facts: dict[str, object] = {
        "program": "aiosmtpd",
        "version": version("aiosmtpd"),
        "server_name": server_name,
        "auth_before_tls": auth_before_tls,
        "starttls": starttls,
        "recipients": recipients,
    }
    return Service(
        "mail", directory, [process], tuple(Port(number) for number in PORTS), directory / OUTPUT, facts
    )


def delivered(directory: Path) -> list[DeliveredMail]:
    """The mails in the folder of an embedded server, in order of arrival."""
    mails = []
    for path in sorted((directory / "mail").glob("*.eml")):
        envelope = json.loads(path.with_suffix(".json").read_text())
        mails.append(
            DeliveredMail(
                path, envelope["tls"], envelope["user"], envelope["mail_from"], tuple(envelope["rcpt_tos"])
            )
        )
    return mails
