"""A mail that a server of the lab took, whichever server it was, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.services.base import READY_POLL_S


@dataclass(frozen=True, slots=True)
class DeliveredMail:
    """path: the mail as a file; tls: whether it came over TLS; user: who had logged in, None for nobody."""

    path: Path
    tls: bool
    user: str | None
    mail_from: str
    rcpt_tos: tuple[str, ...]


def wait_for_mails(
    delivered: Callable[[Path], list[DeliveredMail]], directory: Path, count: int, *, timeout_s: float = 10.0
) -> list[DeliveredMail]:
    """The mails of a server as soon as there are `count`: Postfix says 250 before the mailbox has the mail.

    delivered: the function of that name of the server's module; directory: the server's. LabError: too few in time.
    """
    deadline = time.monotonic() + timeout_s
    while len(mails := delivered(directory)) < count:
        if time.monotonic() > deadline:
            raise LabError(
                f"expected {count} delivered mails, got {len(mails)}", f"read the logs in {directory}"
            )
        time.sleep(READY_POLL_S)
    return mails
