"""Every mail client's outcome against real and misbehaving servers: the word must be what the client really met."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.clients.base import Outcome
from lab.clients.registry import CLIENTS
from lab.services import mail_embedded
from lab.services.pki import Pki
from tests.emulation.mail_world import NAME, USERS, MailWorld, log_entries, mail_world

STRICT = ["smtplib-submission", "swaks-submission", "msmtp-submission", "curl-submission"]
OPPORTUNISTIC = ["smtplib-opportunistic", "swaks-opportunistic", "curl-opportunistic"]
IMPLICIT = ["smtplib-implicit-tls", "swaks-implicit-tls", "msmtp-implicit-tls", "curl-implicit-tls"]
SENDERS = STRICT + OPPORTUNISTIC + IMPLICIT
OPENSSL = ["openssl-submission", "openssl-smtps"]
EVERYBODY = SENDERS + OPENSSL

SUBMISSION_PORT, SMTPS_PORT = 587, 465
PATIENCE_S = 1.0
"""Time limit where nothing will ever come. Chosen: far longer than any client needs here, short for eleven of them."""

USERS_OF_THE_LAB = pytest.mark.parametrize("user", ["root", "ordinary"])


def serve_mail(world: MailWorld, name: str = "server", **options: bool) -> Path:
    """An embedded server on the mail host; returns its folder."""
    directory = world.directory / name
    world.serve(
        mail_embedded.start(
            world.lab.hosts["mail"],
            directory,
            server_name=NAME,
            certificate=world.certificate,
            users=USERS,
            **options,
        )
    )
    return directory


def all_are(outcome: Outcome, clients: list[str]) -> dict[str, Outcome]:
    """The same outcome for each client."""
    return dict.fromkeys(clients, outcome)


@pytest.mark.sandboxed
@USERS_OF_THE_LAB
@pytest.mark.parametrize("family", [4, 6, None])
def test_clients_with_an_honest_server_deliver_mail_over_tls(user: str, family: int, run_dir: Path) -> None:
    """Every client brings its mail to the server under TLS, over the IP version asked for."""
    with mail_world(run_dir) as world:
        directory = serve_mail(world)
        expected = all_are(Outcome.DELIVERED, SENDERS) | all_are(Outcome.CONNECTED, OPENSSL)
        assert world.outcomes(EVERYBODY, family=family) == expected
        mails = mail_embedded.delivered(directory)
        assert [(mail.tls, mail.user, mail.rcpt_tos) for mail in mails] == [
            (True, "alice@mail.example", ("bob@mail.example",))
        ] * len(SENDERS)
        assert all(b"Hello from the lab." in mail.path.read_bytes() for mail in mails)
        if family:
            peers = {str(entry["peer"]) for entry in log_entries(directory)}
            sim = world.lab.hosts["sim1"]
            assert peers == {sim.ipv4 if family == 4 else sim.ipv6}


@pytest.mark.sandboxed
def test_clients_with_another_authority_refuse_the_certificate(run_dir: Path) -> None:
    """Nobody sends a password or a mail to a server whose certificate is not trusted."""
    with mail_world(run_dir) as world:
        directory = serve_mail(world)
        stranger = Pki(run_dir / "stranger")
        # swaks up to 20201014 gives up where TLS was optional, later ones go on: no promise about that.
        clients = [name for name in EVERYBODY if name != "swaks-opportunistic"]
        assert world.outcomes(clients, ca_file=stranger.ca_file) == all_are(Outcome.TLS_ERROR, clients)
        events = {entry["event"] for entry in log_entries(directory)}
        assert not events & {"auth", "mail", "delivered"}


@pytest.mark.sandboxed
def test_clients_with_another_name_refuse_the_certificate(run_dir: Path) -> None:
    """A certificate of the right authority for another name is refused too."""
    with mail_world(run_dir) as world:
        world.certificate = world.pki.issue(["web.example"])
        serve_mail(world)
        # swaks up to 20201014 looks at the authority only, later ones at the name too: no promise about swaks.
        clients = [name for name in EVERYBODY if not name.startswith("swaks")]
        assert world.outcomes(clients) == all_are(Outcome.TLS_ERROR, clients)


@pytest.mark.sandboxed
def test_clients_with_a_wrong_password_say_so(run_dir: Path) -> None:
    """A 535 is an auth-error, not a loss of the connection, although the connection ends with it."""
    with mail_world(run_dir) as world:
        serve_mail(world)
        assert world.outcomes(SENDERS, password="wrong") == all_are(Outcome.AUTH_ERROR, SENDERS)


@pytest.mark.sandboxed
def test_clients_without_login_are_rejected(run_dir: Path) -> None:
    """The submission ports take no mail without AUTH: a negative reply to MAIL is `rejected`."""
    with mail_world(run_dir) as world:
        serve_mail(world)
        assert world.outcomes(SENDERS, password=None) == all_are(Outcome.REJECTED, SENDERS)


@pytest.mark.sandboxed
def test_clients_with_an_unknown_name_say_so(run_dir: Path) -> None:
    """A name the lab's DNS does not know is a name-error."""
    with mail_world(run_dir) as world:
        outcomes = world.outcomes(EVERYBODY, server_name="nobody.example")
        assert outcomes == all_are(Outcome.NAME_ERROR, EVERYBODY)


@pytest.mark.sandboxed
@pytest.mark.parametrize("family", [4, 6])
def test_clients_at_a_closed_port_are_refused(family: int, run_dir: Path) -> None:
    """A RST in answer to the SYN is `refused`, never `connection-reset`."""
    with mail_world(run_dir) as world:
        assert world.outcomes(EVERYBODY, family=family) == all_are(Outcome.REFUSED, EVERYBODY)


@pytest.mark.sandboxed
def test_clients_without_starttls_on_offer_refuse_or_fall_back(run_dir: Path) -> None:
    """Strict clients refuse to go on; opportunistic ones send password and mail in clear text, and the word says it."""
    with mail_world(run_dir) as world:
        directory = serve_mail(world, starttls="absent", auth_before_tls=True)
        expected = all_are(Outcome.TLS_ERROR, [*STRICT, "openssl-submission"])
        expected |= all_are(Outcome.CLEAR_TEXT, OPPORTUNISTIC)
        assert world.outcomes([*STRICT, *OPPORTUNISTIC, "openssl-submission"]) == expected
        assert [mail.tls for mail in mail_embedded.delivered(directory)] == [False] * len(OPPORTUNISTIC)


@pytest.mark.sandboxed
def test_clients_refused_starttls_refuse_or_fall_back(run_dir: Path) -> None:
    """After a 454 strict clients stop with `rejected`; of the opportunistic ones curl alone goes on in clear text."""
    with mail_world(run_dir) as world:
        world.wicked("refuse-starttls", SUBMISSION_PORT)
        assert world.outcomes(STRICT + OPPORTUNISTIC) == all_are(Outcome.REJECTED, STRICT) | {
            "smtplib-opportunistic": Outcome.REJECTED,
            # It goes on, wants to log in, and this server offers that under TLS only.
            "swaks-opportunistic": Outcome.AUTH_ERROR,
            "curl-opportunistic": Outcome.CLEAR_TEXT,
        }


@pytest.mark.sandboxed
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("behaviour", ["reset-on-connect", "reset-on-starttls", "reset-on-hello"])
def test_clients_reset_on_the_submission_port_say_so(behaviour: str, family: int, run_dir: Path) -> None:
    """A RST is `connection-reset` at every stage, also for programs that only say that the connection is gone."""
    with mail_world(run_dir) as world:
        world.wicked(behaviour, SUBMISSION_PORT)
        clients = [*STRICT, *OPPORTUNISTIC, "openssl-submission"]
        assert world.outcomes(clients, family=family) == all_are(Outcome.CONNECTION_RESET, clients)


@pytest.mark.sandboxed
@pytest.mark.parametrize("family", [4, 6])
def test_clients_reset_at_the_hello_of_smtps_say_so(family: int, run_dir: Path) -> None:
    """A RST in answer to a ClientHello on the port of implicit TLS is `connection-reset`."""
    with mail_world(run_dir) as world:
        world.wicked("reset-on-hello", SMTPS_PORT, starttls=False)
        clients = [*IMPLICIT, "openssl-smtps"]
        assert world.outcomes(clients, family=family) == all_are(Outcome.CONNECTION_RESET, clients)


@pytest.mark.sandboxed
def test_clients_of_a_server_that_hangs_up_say_closed(run_dir: Path) -> None:
    """A FIN in place of the greeting is not a reset: the difference is what detectors live on."""
    with mail_world(run_dir) as world:
        world.wicked("close-on-connect", SUBMISSION_PORT)
        clients = STRICT + OPPORTUNISTIC
        assert world.outcomes(clients) == all_are(Outcome.CONNECTION_CLOSED, clients)


@pytest.mark.sandboxed
@pytest.mark.parametrize("behaviour", ["refuse-mail", "refuse-connection"])
def test_clients_with_a_negative_reply_say_rejected(behaviour: str, run_dir: Path) -> None:
    """550 to MAIL and 554 as greeting are `rejected`."""
    with mail_world(run_dir) as world:
        world.wicked(behaviour, SUBMISSION_PORT)
        assert world.outcomes(STRICT) == all_are(Outcome.REJECTED, STRICT)


@pytest.mark.sandboxed
def test_clients_of_a_silent_server_are_ended_in_time(run_dir: Path) -> None:
    """Where nothing ever comes the time limit ends the program: outcome `timeout`, no exit status, no process left."""
    with mail_world(run_dir) as world:
        world.wicked("silent", SUBMISSION_PORT)
        results = {name: world.run(name, time_limit_s=PATIENCE_S) for name in STRICT}
        assert {name: result.outcome for name, result in results.items()} == all_are(Outcome.TIMEOUT, STRICT)
        assert [result.exit_status for result in results.values()] == [None] * len(STRICT)
        sim_namespace = Path(f"/proc/{world.lab.hosts['sim1'].pid}/ns/net").readlink()
        inhabitants = [
            pid for pid in Path("/proc").glob("[0-9]*") if (pid / "ns/net").readlink() == sim_namespace
        ]
        assert [pid.name for pid in inhabitants] == [str(world.lab.hosts["sim1"].pid)]


@pytest.mark.sandboxed
def test_clients_in_a_blackhole_time_out(run_dir: Path) -> None:
    """SYNs that vanish give `timeout`."""
    with mail_world(run_dir) as world:
        mail = world.lab.hosts["mail"]
        assert mail.run(["iptables", "-A", "INPUT", "-p", "tcp", "-j", "DROP"], timeout_s=30).returncode == 0
        clients = ["smtplib-submission", "curl-implicit-tls", "openssl-smtps"]
        assert world.outcomes(clients, family=4, time_limit_s=PATIENCE_S) == all_are(Outcome.TIMEOUT, clients)


@pytest.mark.sandboxed
def test_clients_behind_an_icmp_prohibition_say_unreachable(run_dir: Path) -> None:
    """ICMP "administratively prohibited" is `unreachable`, although each program has its own words for it."""
    with mail_world(run_dir) as world:
        rule = "-A INPUT -p tcp -j REJECT --reject-with icmp-admin-prohibited"
        assert world.lab.hosts["mail"].run(["iptables", *rule.split()], timeout_s=30).returncode == 0
        clients = [*STRICT, "openssl-smtps"]
        assert world.outcomes(clients, family=4) == all_are(Outcome.UNREACHABLE, clients)


@pytest.mark.sandboxed
def test_clients_each_get_a_home_of_their_own(run_dir: Path) -> None:
    """Two runs of a client share nothing: each has a new folder as HOME."""
    with mail_world(run_dir) as world:
        serve_mail(world)
        for _ in range(2):
            world.run("msmtp-submission")
        assert len(list(run_dir.glob("msmtp-submission-*"))) == 2


def test_clients_registry_has_the_names_of_the_scenarios() -> None:
    """Scenario files call clients by these names."""
    assert set(EVERYBODY) <= CLIENTS.keys()
    assert {"curl-imap-starttls", "curl-imaps", "curl-http", "curl-https", "ssh"} <= CLIENTS.keys()
