"""Is this machine ready, and if not, which command makes it so? One line for each thing that is missing.

What the lab cannot do without is tried by `lab.probe`; what only some scenarios need (real servers, real clients) is
looked for here, and is no reason for a bad exit status.

Must never: install or change anything.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from lab import sandbox
from lab.probe import probe

OPTIONAL_PROGRAMS = {
    "dnsmasq": "dnsmasq-base",
    "postfix": "postfix libsasl2-modules",
    "dovecot": "dovecot-imapd dovecot-pop3d dovecot-lmtpd",
    "nginx": "nginx",
    "sshd": "openssh-server",
    "swaks": "swaks",
    "msmtp": "msmtp",
    "curl": "curl",
    "openssl": "openssl",
    "openvpn": "openvpn",
    "swanctl": "strongswan-charon strongswan-swanctl libstrongswan-standard-plugins",
    "xl2tpd": "xl2tpd",
    "pptp": "pptp-linux",
    "pptpd": "pptpd",
    "tshark": "tshark",
    "newuidmap": "uidmap",
}
"""Program -> Debian packages. Needed by scenarios with that server or client, or to look at captures."""


@dataclass(frozen=True, slots=True)
class Ailment:
    """Something missing. needed: without it no scenario runs."""

    message: str
    fix: str
    needed: bool

    def as_json(self) -> dict[str, Any]:
        return {"message": self.message, "fix": self.fix, "needed": self.needed}


def examine() -> list[Ailment]:
    """What is missing on this machine, what is needed first."""
    found = [Ailment(error.message, error.fix, needed=True) for error in probe()]
    path = sandbox.program_path()
    for program, packages in OPTIONAL_PROGRAMS.items():
        if shutil.which(program, path=path) is None:
            found.append(
                Ailment(
                    f"no {program}", f"make setup-servers, or: sudo apt-get install {packages}", needed=False
                )
            )
    return found
