"""Which servers a scenario needs, and which mails of its steps arrived."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.services.base import Service
from lab.services.pki import Pki
from scenarios.cast import STEP_HEADER, Cast, mail_domain, server_hosts
from scenarios.load import load_scenario
from scenarios.model import Step


@pytest.fixture
def cast(tmp_path: Path) -> Cast:
    """No server running, one store of the embedded kind."""
    store = Service("mail", tmp_path / "mail", [], (), tmp_path / "output.log")
    return Cast({}, {"mail": ("embedded", store)}, Pki(tmp_path / "pki"))


def store(directory: Path, number: int, text: str) -> None:
    """A mail as the embedded server keeps it."""
    folder = directory / "mail" / "mail"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{number}.eml").write_text(text)
    (folder / f"{number}.json").write_text(
        '{"port": 587, "tls": true, "user": null, "mail_from": "a", "rcpt_tos": ["b"]}'
    )


def test_cast_hosts_are_those_that_the_services_live_on() -> None:
    """The name server always; imap lives on the host of mail, and all VPNs on one."""
    assert server_hosts(load_scenario("starttls-block")) == ["dns", "mail"]
    assert server_hosts(load_scenario("any-destination")) == ["dns", "mail", "provider"]
    assert server_hosts(load_scenario("unaffected")) == ["dns", "mail", "web", "ssh"]
    assert server_hosts(load_scenario("tmobile-uk-2012-vpn-dialup")) == ["dns", "vpn"]


def test_cast_target_reads_later_by_the_clock_of_the_boxs_memory(cast: Cast, tmp_path: Path) -> None:
    """A minute later is 0.6 s later where the box forgets a hundred times faster; `after` is a time of the clock."""
    packets = [{"flags": "S"}, {"flags": "PA", "later_s": 60.0, "after_s": 0.1}]
    step = Step("probe", "sim1", "probe-packets", ask={"packets": packets})
    for time_scale, waits in ((1.0, [0.0, 60.1]), (0.01, [0.0, 0.7])):
        cast.time_scale = time_scale
        target = cast.target(step, family=4, world="scenario", directory=tmp_path)
        assert [packet["after_s"] for packet in target.ask["packets"]] == pytest.approx(waits)


def test_cast_target_marks_the_mail_with_its_step(cast: Cast, tmp_path: Path) -> None:
    """By the header line the mail is known again, whichever server took it."""
    target = cast.target(Step("send", "sim1", "swaks"), family=6, world="scenario", directory=tmp_path)
    assert f"{STEP_HEADER}: scenario/6/send\r\n".encode() in target.mail()
    assert (target.family, target.server_name, target.password) == (6, "mail.example", "s3cr3t-PW")


def test_cast_target_follows_the_step(cast: Cast, tmp_path: Path) -> None:
    """Port, time limit, login and the provider's own domain."""
    step = Step("s", "sim1", "swaks", to="smtp.provider.example", port=25, timeout_ns=3 * 10**9, login=False)
    target = cast.target(step, family=4, world="scenario", directory=tmp_path)
    assert (target.port, target.time_limit_s, target.password) == (25, 3.0, None)
    assert (target.sender, target.recipient) == ("alice@provider.example", "bob@provider.example")
    assert mail_domain("provider") == "provider.example"


def test_cast_target_has_the_identity_that_its_client_needs(cast: Cast, tmp_path: Path) -> None:
    """A VPN client has its own server's, WireGuard's one for each subscriber and IP version; others have none."""
    facts: dict[str, dict[str, object]] = {
        "vpn": {"identity_file": "/vpn.pem"},
        "ike": {"identity_file": "/ike.pem"},
        "wireguard": {"identity_files": {"sim1-ipv4": "/1-4", "sim1-ipv6": "/1-6", "sim2-ipv4": "/2-4"}},
    }
    cast.services = {
        name: Service(name, tmp_path, [], (), tmp_path / "log", known) for name, known in facts.items()
    }

    def identity(on: str, client: str, family: int) -> str:
        step = Step("s", on, client, to="vpn.example")
        return str(cast.target(step, family=family, world="scenario", directory=tmp_path).identity_file)

    assert [identity("sim1", client, 4) for client in ("openvpn", "openvpn-tcp", "ike", "l2tp")] == [
        "/vpn.pem", "/vpn.pem", "/ike.pem", "None",
    ]  # fmt: skip
    assert [identity(*who) for who in (("sim1", "wireguard", 4), ("sim1", "wireguard", 6))] == [
        "/1-4",
        "/1-6",
    ]
    assert identity("sim2", "wireguard", 4) == "/2-4"


def test_cast_delivered_mails_are_counted_by_world_and_ip_version(cast: Cast, tmp_path: Path) -> None:
    """Mails of another world, and mails that no step sent, do not count."""
    for number, line in enumerate(
        ("scenario/4/send", "scenario/6/send", "scenario/6/more", "no-middlebox/4/send")
    ):
        store(tmp_path, number, f"From: a\n{STEP_HEADER}: {line}\n\nHello.\n")
    store(tmp_path, 9, "From: welcome\n\nHello.\n")
    assert cast.delivered("scenario") == {4: ["mail"], 6: ["mail", "mail"]}
    assert cast.delivered("no-middlebox") == {4: ["mail"]}
    assert cast.delivered("other-port") == {}
