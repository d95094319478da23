"""The mail servers, embedded and real: what they offer, take, keep and refuse, as root and as an ordinary user."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from lab import sandbox
from lab.clients.base import Outcome
from lab.errors import LabError
from lab.lab import Host
from lab.services import mail_embedded, mail_postfix
from lab.services.base import Port, Service, listening_ports
from lab.services.mailbox import DeliveredMail
from tests.emulation.mail_world import NAME, USERS, MailWorld, log_entries, mail_world

USERS_OF_THE_LAB = pytest.mark.parametrize("user", ["root", "ordinary"])
USERS_OF_POSTFIX = pytest.mark.parametrize("user", ["root", "mapped"])
SENDERS = ["smtplib-submission", "swaks-implicit-tls", "msmtp-submission", "curl-implicit-tls"]

NOBODYS_PORT = 9

needs_postfix = pytest.mark.skipif(
    not Path("/usr/sbin/postfix").exists() or not Path("/usr/sbin/dovecot").exists(),
    reason="real mail servers are optional: `make setup-servers`; CI has them",
)


def embedded(world: MailWorld, **options: bool) -> Path:
    """An embedded server on the mail host; returns its folder."""
    directory = world.directory / "server"
    mail = world.lab.hosts["mail"]
    service = mail_embedded.start(
        mail, directory, server_name=NAME, certificate=world.certificate, users=USERS, **options
    )
    world.serve(service)
    return directory


def postfix(world: MailWorld, **options: Any) -> Service:
    """A real server on the mail host, in the folder `postfix`."""
    return world.serve(
        mail_postfix.start(
            world.lab.hosts["mail"],
            world.directory / "postfix",
            server_name=NAME,
            certificate=world.certificate,
            users=USERS,
            **options,
        )
    )


def delivered(server: Service) -> list[DeliveredMail]:
    """What has come of all mail that a Postfix took."""
    mail_postfix.wait_until_delivered([server])
    return mail_postfix.delivered(server.directory)


def says(host: Host, port: int, *lines: str) -> str:
    """What a server answers to these lines, sent in clear text and all at once."""
    dialogue = "".join(f"{line}\r\n" for line in lines)
    argv = ["curl", "--silent", "--max-time", "5", f"telnet://{NAME}:{port}"]
    return host.run(argv, timeout_s=30, input=dialogue.encode()).stdout.decode()


@pytest.mark.sandboxed
@USERS_OF_THE_LAB
def test_embedded_server_offers_auth_on_submission_under_tls_only(user: str, run_dir: Path) -> None:
    """Before TLS port 587 offers STARTTLS and no AUTH, and refuses AUTH and mail; what it offers after it lets in."""
    with mail_world(run_dir) as world:
        embedded(world)
        sim = world.lab.hosts["sim1"]
        answer = says(sim, 587, "EHLO me", "AUTH PLAIN AGEAYg==", "MAIL FROM:<a@mail.example>", "QUIT")
        assert "250-STARTTLS" in answer
        assert "AUTH LOGIN PLAIN" not in answer
        assert "538" in answer
        assert "530" in answer
        assert world.run("smtplib-submission").outcome is Outcome.DELIVERED


@pytest.mark.sandboxed
def test_embedded_server_with_auth_before_tls_offers_it_in_clear_text(run_dir: Path) -> None:
    """`auth_before_tls` is the server on which a fall-back to clear text can be seen."""
    with mail_world(run_dir) as world:
        embedded(world, auth_before_tls=True)
        answer = says(world.lab.hosts["sim1"], 587, "EHLO me", "QUIT")
        assert "250-STARTTLS" in answer
        assert "250-AUTH LOGIN PLAIN" in answer


@pytest.mark.sandboxed
def test_embedded_server_takes_foreign_mail_for_its_own_domain_only(run_dir: Path) -> None:
    """Port 25 is for other servers: no AUTH, mail for users here, no relaying."""
    with mail_world(run_dir) as world:
        directory = embedded(world)
        start = ["EHLO me", "MAIL FROM:<x@web.example>"]
        answer = says(world.lab.hosts["sim1"], 25, *start, "RCPT TO:<y@web.example>", "QUIT")
        assert "550 5.7.1 Relaying denied" in answer
        assert "AUTH" not in answer
        rest = ["RCPT TO:<bob@mail.example>", "DATA", "Subject: x", "", "y", ".", "QUIT"]
        assert "queued" in says(world.lab.hosts["sim1"], 25, *start, *rest)
        [mail] = mail_embedded.delivered(directory)
        assert (mail.mail_from, mail.rcpt_tos) == ("x@web.example", ("bob@mail.example",))
        assert (mail.tls, mail.user) == (False, None)


@pytest.mark.sandboxed
def test_embedded_server_logs_a_session_in_order(run_dir: Path) -> None:
    """The log tells a submission from the connection to its end, and when TLS began."""
    with mail_world(run_dir) as world:
        directory = embedded(world)
        world.run("smtplib-submission", family=4)
        world.services.close()
        entries = log_entries(directory)
        assert [entry["event"] for entry in entries] == [
            *("connected", "ehlo", "starttls_requested", "tls_started", "ehlo"),
            *("auth", "mail", "rcpt", "delivered", "disconnected"),
        ]
        assert [entry["tls"] for entry in entries] == [False] * 3 + [True] * 7
        times = [entry["time_ns"] for entry in entries]
        assert times == sorted(times)


@pytest.mark.sandboxed
@USERS_OF_THE_LAB
def test_embedded_server_stopped_is_gone_and_can_be_started_again(user: str, run_dir: Path) -> None:
    """`stop` returns when no port is listening any more, and a second server finds them free."""
    with mail_world(run_dir) as world:
        mail = world.lab.hosts["mail"]
        for attempt in ("first", "second"):
            service = mail_embedded.start(
                mail, run_dir / attempt, server_name=NAME, certificate=world.certificate, users=USERS
            )
            service.wait_ready()
            assert world.run("smtplib-implicit-tls").outcome is Outcome.DELIVERED
            service.stop()
            assert listening_ports(mail.pid) == set()


@pytest.mark.sandboxed
def test_service_that_cannot_listen_is_an_error_with_its_log(run_dir: Path) -> None:
    """A server whose port is taken is reported with its own words and the file to read, not waited for."""
    with mail_world(run_dir) as world:
        embedded(world)
        mail, second = world.lab.hosts["mail"], run_dir / "second"
        service = mail_embedded.start(
            mail, second, server_name=NAME, certificate=world.certificate, users=USERS
        )
        service.processes[0].wait()
        service.ports = (Port(NOBODYS_PORT),)
        with pytest.raises(LabError, match="address already in use") as caught:
            service.wait_ready()
        assert str(second) in caught.value.fix


@needs_postfix
@pytest.mark.sandboxed
@USERS_OF_POSTFIX
@pytest.mark.parametrize("family", [4, 6])
def test_postfix_takes_mail_and_imap_gives_it_out(user: str, family: int, run_dir: Path) -> None:
    """Real Postfix takes mail from every client, and its reader finds it by IMAP, both ways of TLS."""
    with mail_world(run_dir) as world:
        server = postfix(world)
        assert world.outcomes(SENDERS, family=family) == dict.fromkeys(SENDERS, Outcome.DELIVERED)
        mails = delivered(server)
        assert len(mails) == len(SENDERS)
        assert {(mail.tls, mail.user, mail.rcpt_tos) for mail in mails} == {
            (True, "alice@mail.example", ("bob@mail.example",))
        }
        readers = ["curl-imap-starttls", "curl-imaps"]
        bob = {"user": "bob@mail.example", "password": USERS["bob@mail.example"], "family": family}
        assert world.outcomes(readers, **bob) == dict.fromkeys(readers, Outcome.FETCHED)
        assert world.outcomes(readers, password="no") == dict.fromkeys(readers, Outcome.AUTH_ERROR)
        assert world.run("smtplib-submission", password="no").outcome is Outcome.AUTH_ERROR


@needs_postfix
@pytest.mark.sandboxed
@USERS_OF_POSTFIX
def test_postfix_without_starttls_shows_the_fall_back(user: str, run_dir: Path) -> None:
    """The same two switches as the embedded server has: no STARTTLS on offer, AUTH in clear text."""
    with mail_world(run_dir) as world:
        server = postfix(world, starttls="absent", auth_before_tls=True)
        assert world.run("smtplib-submission").outcome is Outcome.TLS_ERROR
        assert world.run("smtplib-opportunistic").outcome is Outcome.CLEAR_TEXT
        [mail] = delivered(server)
        assert not mail.tls


@needs_postfix
@pytest.mark.sandboxed
@pytest.mark.parametrize("user", ["ordinary"])
def test_postfix_in_a_single_id_sandbox_says_what_to_do(user: str, run_dir: Path) -> None:
    """Where Postfix's users do not exist the error names the way to a range of ids, and the embedded server."""
    if sandbox.facts()["mode"] == "mapped":
        pytest.skip("whoever runs the tests has a range of user ids; CI tries one who has none")
    with (
        mail_world(run_dir) as world,
        pytest.raises(LabError, match="expected a sandbox with user ids") as caught,
    ):
        mail_postfix.start(
            world.lab.hosts["mail"], run_dir, server_name=NAME, certificate=world.certificate, users=USERS
        )
    assert "uidmap" in caught.value.fix
    assert "mail: embedded" in caught.value.fix


@needs_postfix
@pytest.mark.sandboxed
@pytest.mark.parametrize("user", ["mapped"])
def test_postfix_as_an_ordinary_user_with_a_range_of_ids_leaves_only_his_files(
    user: str, run_dir: Path
) -> None:
    """Whatever Postfix and Dovecot write, while they run too, belongs to the person who runs the lab."""
    with mail_world(run_dir) as world:
        assert world.lab.facts["sandbox"]["mode"] == "mapped"
        server = postfix(world, aliases={"postmaster@mail.example": "bob@mail.example"})
        assert (
            world.run("smtplib-submission", recipient="postmaster@mail.example").outcome is Outcome.DELIVERED
        )
        [mail] = delivered(server)
        assert mail.rcpt_tos == ("bob@mail.example",)
        assert {path for path in run_dir.rglob("*") if path.lstat().st_uid != os.geteuid()} == set()
