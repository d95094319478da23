"""Postfix's configuration: what the switches of a server change in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.services.pki import Certificate
from lab.services.postfix_config import PostfixConfig

PLAIN = PostfixConfig(
    directory=Path("/run-folder/mail"),
    daemons=Path("/usr/lib/postfix/sbin"),
    server_name="mail.example",
    certificate=Certificate(("mail.example",), Path("/pki/mail.pem"), Path("/pki/mail.key")),
    domains=["mail.example", "two.example"],
    aliases={},
    auth_before_tls=False,
    starttls="offered",
    recipients="taken",
)


def settings(text: str) -> dict[str, str]:
    """main.cf as names and values."""
    pairs = (line.partition(" =") for line in text.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def options(text: str, service: str) -> list[str]:
    """The `-o` options of a service in master.cf."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.split()[0] == service)
    found = []
    for line in lines[start + 1 :]:
        if not line.startswith(" "):
            break
        found.append(line.strip().removeprefix("-o "))
    return found


def test_postfix_main_has_nothing_of_the_machine() -> None:
    """Every folder is the run's, /run's own memory file system or the installed programs; no map of the machine."""
    main = settings(PLAIN.main_cf())
    folders = {main[name] for name in ("queue_directory", "data_directory", "meta_directory", "maillog_file")}
    assert all(folder.startswith(("/run/postfix/", "/run-folder/")) for folder in folders)
    assert main["alias_maps"] == main["mynetworks"] == main["mydestination"] == ""
    assert "/etc" not in PLAIN.main_cf()


def test_postfix_takes_mail_for_its_domains_and_aliases() -> None:
    """Domains and aliases stand in the file itself: no map files, which need their own owner."""
    config = replace(PLAIN, aliases={"a@mail.example": "b@mail.example", "c@mail.example": "d@mail.example"})
    main = settings(config.main_cf())
    assert main["virtual_mailbox_domains"] == "mail.example, two.example"
    assert main["virtual_alias_maps"] == (
        "inline:{ { a@mail.example = b@mail.example }, { c@mail.example = d@mail.example } }"
    )


@pytest.mark.parametrize(
    ("auth_before_tls", "starttls", "tls_level", "auth_only_under_tls"),
    [(False, "offered", "may", "yes"), (True, "offered", "may", "no"), (False, "absent", "none", "no")],
)
def test_postfix_offers_tls_and_auth_as_asked(
    auth_before_tls: bool, starttls: str, tls_level: str, auth_only_under_tls: str
) -> None:
    """A server without STARTTLS must offer AUTH in clear text, or nobody could log in."""
    config = replace(PLAIN, auth_before_tls=auth_before_tls, starttls=starttls)
    assert settings(config.main_cf())["smtpd_tls_security_level"] == tls_level
    assert f"smtpd_tls_auth_only={auth_only_under_tls}" in options(config.master_cf(), "587")


def test_postfix_wants_a_login_on_the_submission_ports_only() -> None:
    """587 and 465 are for subscribers, who log in; 25 is for other servers, who do not."""
    master = PLAIN.master_cf()
    login = {"smtpd_sasl_auth_enable=yes", "smtpd_client_restrictions=permit_sasl_authenticated,reject"}
    assert login <= set(options(master, "587"))
    assert login | {"smtpd_tls_wrappermode=yes"} <= set(options(master, "465"))
    assert options(master, "25") == []
