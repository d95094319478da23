"""Dovecot's configuration in both languages."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from lab.services.dovecot import version
from lab.services.dovecot_config import configuration
from lab.services.identity import USER
from lab.services.pki import Certificate

# Settings that 2.3 has and 2.4 refuses, and the other way round ("Upgrading Dovecot v2.3 to v2.4").
ONLY_2_3 = (
    "ssl_cert =",
    "ssl_key =",
    "disable_plaintext_auth =",
    "mail_location =",
    "driver = passwd-file",
    "%n",
)
ONLY_2_4 = ("dovecot_config_version =", "ssl_server_cert_file =", "auth_allow_cleartext =", "mail_driver =")


def text(number: tuple[int, int], folder: Path, *, login_before_tls: bool = False) -> str:
    """A configuration with LMTP; its certificate is two empty files."""
    for name in ("chain.pem", "key.pem"):
        (folder / name).touch()
    return configuration(
        version=number, directory=folder, run=str(folder / "run"), protocols=["imap", "pop3", "lmtp"],
        certificate=Certificate(("mail.example",), chain=folder / "chain.pem", key=folder / "key.pem"),
        login_before_tls=login_before_tls, sasl="auth-postfix", lmtp="lmtp",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "has", "lacks"),
    [((2, 3), ONLY_2_3, ONLY_2_4), ((2, 4), ONLY_2_4, ONLY_2_3)],
    ids=["2.3", "2.4"],
)
def test_dovecot_config_speaks_the_language_of_the_version(
    number: tuple[int, int], has: tuple[str, ...], lacks: tuple[str, ...], tmp_path: Path
) -> None:
    """A file for one version has no setting that only the other knows."""
    written = text(number, tmp_path)
    assert [setting for setting in has if setting not in written] == []
    assert [setting for setting in lacks if setting in written] == []


@pytest.mark.parametrize(("number", "before", "after"), [((2, 3), "yes", "no"), ((2, 4), "no", "yes")])
def test_dovecot_config_login_before_tls_is_off_unless_asked_for(
    number: tuple[int, int], before: str, after: str, tmp_path: Path
) -> None:
    """Passwords in clear text are refused by both languages' own word for it."""
    setting = "disable_plaintext_auth" if number == (2, 3) else "auth_allow_cleartext"
    assert f"{setting} = {before}\n" in text(number, tmp_path)
    assert f"{setting} = {after}\n" in text(number, tmp_path, login_before_tls=True)


def test_dovecot_config_is_accepted_by_the_dovecot_of_this_machine(tmp_path: Path) -> None:
    """Dovecot's own doveconf finds nothing wrong with it."""
    program = shutil.which("dovecot", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert program is not None, "expected Dovecot, got none; run: make setup-servers"
    major, minor, *_ = version(program).split(".")
    # The lab's own user lives in a passwd of the lab's own; `mail` is a user and a group of every Debian.
    (tmp_path / "dovecot.conf").write_text(text((int(major), int(minor)), tmp_path).replace(USER, "mail"))
    done = subprocess.run(
        ["doveconf", "-n", "-c", tmp_path / "dovecot.conf"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "protocols = imap pop3 lmtp" in done.stdout.replace("  ", " ")
