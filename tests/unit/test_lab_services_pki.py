"""The certificate authority of a run."""

from __future__ import annotations

import ssl
import stat
import threading
from pathlib import Path
from socket import socketpair

import pytest

from lab.services.pki import Certificate, Pki


def handshake(certificate: Certificate, ca_file: Path, name: str) -> list[str]:
    """A TLS handshake of a client that trusts `ca_file` only and expects `name`; raises what the client raises.

    Returns the names of the certificate that the client has trusted.
    """
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(certificate.chain, certificate.key)
    client_context = ssl.create_default_context(cafile=str(ca_file))
    client_end, server_end = socketpair()

    def serve() -> None:
        try:
            server_context.wrap_socket(server_end, server_side=True).close()
        except OSError:
            server_end.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        with client_context.wrap_socket(client_end, server_hostname=name) as client:
            trusted = client.getpeercert()
    finally:
        client_end.close()
        server.join()
    return [value for kind, value in (trusted or {}).get("subjectAltName", ()) if kind == "DNS"]


def test_certificate_for_a_name_is_trusted_with_the_authority(tmp_path: Path) -> None:
    """A client that trusts the run's authority accepts a certificate for every name it was issued for."""
    pki = Pki(tmp_path)
    certificate = pki.issue(["mail.example", "smtp.mail.example"])
    for name in ("mail.example", "smtp.mail.example"):
        assert name in handshake(certificate, pki.ca_file, name)


def test_certificate_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    """A certificate is good for its own names only."""
    pki = Pki(tmp_path)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(pki.issue(["mail.example"]), pki.ca_file, "web.example")


def test_certificate_of_another_run_is_not_trusted(tmp_path: Path) -> None:
    """Two authorities do not vouch for each other, as a middlebox with its own authority must be noticed."""
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(Pki(tmp_path / "a").issue(["mail.example"]), Pki(tmp_path / "b").ca_file, "mail.example")


def test_private_key_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """Servers refuse keys that others may read."""
    key = Pki(tmp_path).issue(["mail.example"]).key
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_certificate_for_the_same_names_is_the_same(tmp_path: Path) -> None:
    """Two servers on one host prove themselves by one key: a second one would take the first one's file away."""
    pki = Pki(tmp_path)
    certificate = pki.issue(["vpn.example"])
    key = certificate.key.read_bytes()
    assert pki.issue(["vpn.example"]) is certificate
    assert certificate.key.read_bytes() == key


def test_bundle_has_chain_and_key_and_is_its_owners(tmp_path: Path) -> None:
    """A client that is given one file can prove itself with it."""
    pki = Pki(tmp_path)
    bundle = pki.issue(["mail.example"]).write_bundle(tmp_path / "bundle.pem")
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    handshake(Certificate(("mail.example",), bundle, bundle), pki.ca_file, "mail.example")
