"""The clients that a program for sending mail makes: one for each way to come by TLS.

Source: RFC 8314 (submission by STARTTLS, and with TLS from the first byte).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from lab.clients.base import Client, ClientResult, Target
from lab.host import Host

SUBMISSION_PORT, SMTPS_PORT = 587, 465
MODES = ("submission", "opportunistic", "implicit")
"""STARTTLS or no mail; STARTTLS if it is offered; TLS from the first byte."""

_ENDING_AND_PORT = {
    "submission": ("submission", SUBMISSION_PORT),
    "opportunistic": ("opportunistic", SUBMISSION_PORT),
    "implicit": ("implicit-tls", SMTPS_PORT),
}
_TAKES = frozenset({"recipient", "sender", "size"})
"""What each can be told besides; whoever makes the target sees to it."""


class SendsMail(Protocol):
    """Sends the target's mail in one of `MODES`, to `port` unless the target names another."""

    def __call__(self, host: Host, target: Target, *, mode: str, port: int) -> ClientResult: ...


def senders(program: str, run: SendsMail, modes: Sequence[str] = MODES) -> tuple[Client, ...]:
    """Named `<program>-submission`, `<program>-opportunistic` and `<program>-implicit-tls`."""
    clients = []
    for mode in modes:
        ending, port = _ENDING_AND_PORT[mode]
        clients.append(Client(f"{program}-{ending}", port, partial(run, mode=mode, port=port), _TAKES))
    return tuple(clients)
