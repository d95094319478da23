"""Misbehaving servers and the client that plays by script: what becomes of it, over both IP versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.clients.base import Action, Outcome
from lab.services import misbehaving
from tests.emulation.mail_world import NAME, MailWorld, mail_world

pytestmark = pytest.mark.sandboxed

USERS_OF_THE_LAB = pytest.mark.parametrize("user", ["root", "ordinary"])
ASK, ANSWER, END = Action("send", data=b"x" * 100), Action("receive", size=100), Action("end")

OUTCOMES = {
    "answer": ((ASK, ANSWER, ASK, ANSWER), Outcome.CONNECTED),
    "crash": ((ASK, ANSWER), Outcome.CONNECTION_RESET),
    "reset": ((ASK, ANSWER), Outcome.CONNECTION_RESET),
    "reset-when-idle": ((ASK, ANSWER, END), Outcome.CONNECTION_RESET),
    "slow": ((ASK, ANSWER), Outcome.CONNECTED),
    "keepalive": ((ASK, ANSWER), Outcome.CONNECTED),
    "tarpit": ((Action("receive", size=2), Action("abort")), Outcome.CONNECTED),
}


def serve(world: MailWorld, behaviour: str) -> None:
    """On the mail host, under its name."""
    directory = world.directory / behaviour
    world.serve(misbehaving.start(world.lab.hosts["mail"], directory, behaviour=behaviour, server_name=NAME))


@USERS_OF_THE_LAB
@pytest.mark.parametrize("behaviour", OUTCOMES)
def test_misbehaving_server_does_its_one_thing(user: str, behaviour: str, run_dir: Path) -> None:
    """Each behaviour, met by a client that asks and waits; the server goes on with the next connection."""
    script, outcome = OUTCOMES[behaviour]
    with mail_world(run_dir) as world:
        serve(world, behaviour)
        for family in (4, 6):
            result = world.run("tcp-script", script=script, family=family)
            assert result.outcome is outcome, result.output


def test_misbehaving_server_crashes_at_starttls(run_dir: Path) -> None:
    """On port 587 it speaks enough SMTP for a real client to come to STARTTLS."""
    with mail_world(run_dir) as world:
        serve(world, "crash")
        result = world.run("smtplib-submission")
        assert result.outcome is Outcome.CONNECTION_RESET
        assert "STARTTLS" in result.output


def test_tcp_script_ends_as_its_connection_does(run_dir: Path) -> None:
    """Refused, without a name, nobody answering, the other side gone: each has its word."""
    with mail_world(run_dir) as world:
        serve(world, "answer")
        assert world.run("tcp-script", port=9).outcome is Outcome.REFUSED
        assert world.run("tcp-script", server_name="nobody.example").outcome is Outcome.NAME_ERROR
        waits = (ASK, Action("receive", size=200))
        assert world.run("tcp-script", script=waits, time_limit_s=0.5).outcome is Outcome.TIMEOUT
        world.wicked("close-on-connect", 8)
        assert world.run("tcp-script", port=8, script=(ANSWER,)).outcome is Outcome.CONNECTION_CLOSED


def test_tcp_script_pauses_until_it_is_done(run_dir: Path) -> None:
    """What a pause waits for has happened before the next line, once for each pause, in their order."""
    with mail_world(run_dir) as world:
        serve(world, "answer")
        done: list[str] = []
        pauses = [Action("pause", at_pause=lambda name=name: done.append(name)) for name in ("one", "two")]  # type: ignore[misc]
        result = world.run("tcp-script", script=(pauses[0], ASK, pauses[1], ANSWER))
        assert result.outcome is Outcome.CONNECTED
        assert done == ["one", "two"]
