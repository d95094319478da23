"""Name server, web, SSH and IMAP servers with their clients, over both IP versions, as root and as an ordinary user."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.clients.base import Outcome
from lab.services import dovecot, mail_embedded, ssh, web
from lab.services.base import Service, find_program
from tests.emulation.mail_world import NAME, USERS, MailWorld, mail_world

USERS_OF_THE_LAB = pytest.mark.parametrize("user", ["root", "mapped", "ordinary"])
READERS = ["curl-imap-starttls", "curl-imaps", "curl-pop3-stls", "curl-pop3s"]
WEB = ["curl-http", "curl-https"]

needs_dovecot = pytest.mark.skipif(
    not Path("/usr/sbin/dovecot").exists(),
    reason="real mail servers are optional: `make setup-servers`; CI has them",
)


def serve_web(world: MailWorld, page_bytes: int = 2000) -> Service:
    """nginx on the mail host, under the mail host's name."""
    mail, directory = world.lab.hosts["mail"], world.directory / "web"
    return world.serve(
        web.start(mail, directory, server_name=NAME, certificate=world.certificate, page_bytes=page_bytes)
    )


@pytest.mark.sandboxed
@USERS_OF_THE_LAB
def test_dns_knows_the_labs_names_and_denies_all_others(user: str, run_dir: Path) -> None:
    """A, AAAA and PTR of the lab's names are answered; any other name does not exist, and nothing is forwarded."""
    with mail_world(run_dir) as world:
        sim, mail = world.lab.hosts["sim1"], world.lab.hosts["mail"]

        def addresses(database: str, name: str) -> set[str]:
            return set(sim.run(["getent", database, name], timeout_s=30).stdout.decode().split())

        assert mail.ipv4 in addresses("ahostsv4", NAME)
        assert mail.ipv6 in addresses("ahostsv6", NAME)
        assert NAME in addresses("hosts", mail.ipv4)
        assert NAME in addresses("hosts", mail.ipv6)
        for stranger in ("nobody.example", "debian.org", "x.test"):
            assert addresses("ahosts", stranger) == set()


@needs_dovecot
@pytest.mark.sandboxed
@USERS_OF_THE_LAB
@pytest.mark.parametrize("family", [4, 6])
def test_dovecot_beside_the_embedded_server_gives_out_mail(user: str, family: int, run_dir: Path) -> None:
    """IMAP and POP3, both ways of TLS, work without Postfix; a wrong password is an auth-error."""
    with mail_world(run_dir) as world:
        mail = world.lab.hosts["mail"]
        servers = {"certificate": world.certificate, "users": USERS}
        world.serve(mail_embedded.start(mail, run_dir / "smtp", server_name=NAME, **servers))  # type: ignore[arg-type]
        world.serve(dovecot.start(mail, run_dir / "imap", **servers))  # type: ignore[arg-type]
        assert world.outcomes(READERS, family=family) == dict.fromkeys(READERS, Outcome.FETCHED)
        assert all("Subject: Welcome" in world.run(client).output for client in ("curl-imaps", "curl-pop3s"))
        assert world.outcomes(READERS, password="no") == dict.fromkeys(READERS, Outcome.AUTH_ERROR)


@pytest.mark.sandboxed
@USERS_OF_THE_LAB
@pytest.mark.parametrize("family", [4, 6])
def test_web_server_gives_out_its_page_in_clear_text_and_under_tls(
    user: str, family: int, run_dir: Path
) -> None:
    """The page arrives over both, in exactly the size asked for; a page that is not there is `rejected`."""
    with mail_world(run_dir) as world:
        serve_web(world, page_bytes=100_000)
        assert world.outcomes(WEB, family=family) == dict.fromkeys(WEB, Outcome.FETCHED)
        pages = [path.read_bytes() for path in run_dir.glob("curl-http*/page")]
        assert len(pages) == len(WEB)
        assert {(len(page), NAME.encode() in page) for page in pages} == {(100_000, True)}
        assert world.outcomes(WEB, path="/nothing") == dict.fromkeys(WEB, Outcome.REJECTED)


@pytest.mark.sandboxed
@USERS_OF_THE_LAB
@pytest.mark.parametrize("family", [4, 6])
def test_ssh_server_lets_in_who_has_the_key(user: str, family: int, run_dir: Path) -> None:
    """A session comes up with the run's key; without it the server's refusal is an auth-error."""
    with mail_world(run_dir) as world:
        facts = world.serve(ssh.start(world.lab.hosts["mail"], run_dir / "ssh")).facts
        login = {
            "user": facts["user"],
            "identity_file": Path(str(facts["identity_file"])),
            "known_hosts": Path(str(facts["known_hosts"])),
            "family": family,
        }
        assert world.run("ssh", **login).outcome is Outcome.CONNECTED
        assert world.run("ssh", **login | {"identity_file": None}).outcome is Outcome.AUTH_ERROR
        subprocess.run(
            [find_program("ssh-keygen", package="openssh-client"), "-qN", "", "-f", str(run_dir / "other")],
            check=True,
        )
        (run_dir / "other_hosts").write_text("* " + (run_dir / "other.pub").read_text())
        assert world.run("ssh", **login | {"known_hosts": run_dir / "other_hosts"}).outcome is Outcome.FAILED


@pytest.mark.sandboxed
@pytest.mark.parametrize("client", [*WEB, "curl-imaps", "ssh"])
def test_other_clients_name_what_ended_their_connection(client: str, run_dir: Path) -> None:
    """Closed port, RST at the first bytes, silence: the word tells them apart for web, IMAP and SSH, too."""
    ports = {"curl-http": 80, "curl-https": 443, "curl-imaps": 993, "ssh": 22}
    with mail_world(run_dir) as world:
        assert world.run(client).outcome is Outcome.REFUSED
        assert world.run(client, server_name="nobody.example").outcome is Outcome.NAME_ERROR
        wicked = world.wicked("reset-on-hello", ports[client], starttls=False)
        assert world.run(client).outcome is Outcome.CONNECTION_RESET
        wicked.stop()
        world.wicked("silent", ports[client])
        assert world.run(client, time_limit_s=1).outcome is Outcome.TIMEOUT


@needs_dovecot
@pytest.mark.sandboxed
def test_imap_reset_when_starttls_is_asked_for_is_a_reset(run_dir: Path) -> None:
    """A RST made by the kernel, in answer to the IMAP command STARTTLS, is `connection-reset`."""
    with mail_world(run_dir) as world:
        mail = world.lab.hosts["mail"]
        world.serve(dovecot.start(mail, run_dir / "imap", certificate=world.certificate, users=USERS))
        rule = "-A INPUT -p tcp --dport 143 -m string --string STARTTLS --algo bm -j REJECT --reject-with tcp-reset"
        assert mail.run(["iptables", *rule.split()], timeout_s=30).returncode == 0
        assert world.run("curl-imap-starttls", family=4).outcome is Outcome.CONNECTION_RESET
        assert world.run("curl-imaps", family=4).outcome is Outcome.FETCHED
