"""ssh: when a session counts as one."""

from __future__ import annotations

from lab.clients import ssh
from lab.clients.base import Outcome
from tests.unit.client_kit import finished, keeps_to_the_evidence


def test_ssh_keeps_to_the_evidence() -> None:
    """A run the lab had to end timed out; a failure of unknown kind is `failed`, nothing is guessed."""
    assert keeps_to_the_evidence(ssh.classify)


def test_ssh_needs_the_commands_answer_to_be_connected() -> None:
    """Exit status 0 without the answer of the command is not a session."""
    assert ssh.classify(finished(0, stdout=ssh.ANSWER + "\n")) is Outcome.CONNECTED
    assert ssh.classify(finished(0)) is Outcome.FAILED
    assert ssh.ANSWER not in ssh.COMMAND
