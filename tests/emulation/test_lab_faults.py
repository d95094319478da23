"""Faults: in effect when started, for their IP version only, and gone when undone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lab import faults
from lab.clients.base import Action, Outcome
from lab.services import misbehaving, web
from tests.emulation.mail_world import NAME, MailWorld, mail_world

pytestmark = pytest.mark.sandboxed

USERS_OF_THE_LAB = pytest.mark.parametrize("user", ["root", "ordinary"])
FAMILIES = pytest.mark.parametrize("family", [4, 6])
ASK, ANSWER = Action("send", data=b"x" * 100), Action("receive", size=100)


def serve(world: MailWorld) -> None:
    """A server that answers and a web server with a page of two full packets, on the mail host."""
    mail = world.lab.hosts["mail"]
    world.serve(misbehaving.start(mail, world.directory / "peer", behaviour="answer", server_name=NAME))


def serve_web(world: MailWorld) -> None:
    mail, directory = world.lab.hosts["mail"], world.directory / "web"
    world.serve(web.start(mail, directory, server_name=NAME, certificate=world.certificate, page_bytes=3000))


def met_in_the_middle(
    world: MailWorld, start: Callable[[], faults.Undo], family: int
) -> tuple[Outcome, faults.Undo]:
    """What becomes of a connection in the middle of which a fault begins; and how to undo that."""
    undo: list[faults.Undo] = []

    def begin() -> None:
        world.lab.wait_until_quiet()
        undo.append(start())

    script = (ASK, ANSWER, Action("pause", at_pause=begin), ASK, ANSWER)
    result = world.run("tcp-script", script=script, family=family, time_limit_s=1.5)
    return result.outcome, undo[0]


@USERS_OF_THE_LAB
@FAMILIES
@pytest.mark.parametrize("kind", ["nat-timeout", "cut"])
def test_fault_of_a_router_stops_what_was_under_way(user: str, family: int, kind: str, run_dir: Path) -> None:
    """The connection hangs; a new one works through a forgetful router, not over a cut line; undone, all is well."""
    with mail_world(run_dir) as world:
        serve(world)
        access = world.lab.hosts["access1"]
        outcome, undo = met_in_the_middle(world, lambda: faults.start(kind, access, family), family)
        assert outcome is Outcome.TIMEOUT

        def new(version: int) -> Outcome:
            return world.run("tcp-script", script=(ASK, ANSWER), family=version, time_limit_s=1.0).outcome

        assert new(family) is (Outcome.CONNECTED if kind == "nat-timeout" else Outcome.TIMEOUT)
        assert new(10 - family) is Outcome.CONNECTED
        undo()
        assert new(family) is Outcome.CONNECTED


@USERS_OF_THE_LAB
@FAMILIES
def test_fault_reboot_answers_old_connections_by_reset(user: str, family: int, run_dir: Path) -> None:
    """The server's kernel has forgotten the connection, without a word, and its next bytes get a RST."""
    with mail_world(run_dir) as world:
        serve(world)
        mail = world.lab.hosts["mail"]
        outcome, _ = met_in_the_middle(world, lambda: faults.start("reboot", mail, family), family)
        assert outcome is Outcome.CONNECTION_RESET
        assert world.run("tcp-script", script=(ASK, ANSWER), family=family).outcome is Outcome.CONNECTED


@USERS_OF_THE_LAB
@FAMILIES
def test_fault_black_hole_swallows_what_is_large_until_the_server_probes(
    user: str, family: int, run_dir: Path
) -> None:
    """A page larger than the MTU never comes; with probing it does; undone, it comes at once."""
    with mail_world(run_dir) as world:
        serve_web(world)

        def fetch(time_limit_s: float) -> Outcome:
            return world.run("curl-http", family=family, time_limit_s=time_limit_s).outcome

        undo = faults.start("mtu-black-hole", world.lab.hosts["transit1"], family)
        assert fetch(1.0) is Outcome.TIMEOUT
        faults.start("mtu-probing", world.lab.hosts["mail"], family)
        assert fetch(20.0) is Outcome.FETCHED
        undo()
        assert fetch(20.0) is Outcome.FETCHED
        routes = world.lab.hosts["transit1"].run(["ip", f"-{family}", "route"], timeout_s=30).stdout
        assert b"mtu" not in routes


@USERS_OF_THE_LAB
@FAMILIES
@pytest.mark.parametrize(("kind", "host"), [("syn-proxy", "mail"), ("duplicate-syn", "sim1")])
def test_fault_at_the_handshake_lets_the_page_come(
    user: str, family: int, kind: str, host: str, run_dir: Path
) -> None:
    """A SYN that is answered by a proxy, or that comes twice, is a connection in the end; also when undone."""
    with mail_world(run_dir) as world:
        serve_web(world)
        undo = faults.start(kind, world.lab.hosts[host], family)
        assert world.run("curl-http", family=family).outcome is Outcome.FETCHED
        undo()
        assert world.run("curl-http", family=family).outcome is Outcome.FETCHED


def test_speechless_hosts_forget_without_a_word(run_dir: Path) -> None:
    """After the block neither end knows of the connection, and neither was told by the other."""
    with mail_world(run_dir) as world:
        serve(world)
        ends = [world.lab.hosts["sim1"], world.lab.hosts["mail"]]

        def connections() -> list[bytes]:
            argv = ["ss", "--no-header", "--tcp", "state", "established"]
            return [end.run(argv, timeout_s=30).stdout for end in ends]

        seen: list[list[bytes]] = []

        def forget() -> None:
            seen.append(connections())
            with faults.speechless(ends):
                seen.append(connections())

        script = (ASK, ANSWER, Action("pause", at_pause=forget), ASK)
        world.run("tcp-script", script=script, family=4)
        before, after = seen
        assert all(before)
        assert after == [b"", b""]
