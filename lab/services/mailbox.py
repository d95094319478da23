"""A mail that a server of the lab took, whichever server it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DeliveredMail:
    """path: the mail as a file; tls: whether it came over TLS; user: who had logged in, None for nobody."""

    path: Path
    tls: bool
    user: str | None
    mail_from: str
    rcpt_tos: tuple[str, ...]
