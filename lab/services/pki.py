"""A certificate authority for one run, and certificates for the lab's names.

Keys are elliptic-curve ones (trustme's default), so a whole authority costs milliseconds and none is ever
kept between runs. Must never: be trusted by anything outside the lab; its key stays in memory.

Source: trustme's documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import trustme


@dataclass(frozen=True, slots=True)
class Certificate:
    """names: DNS names it is for; chain: PEM file, server certificate first; key: PEM file, mode 600."""

    names: tuple[str, ...]
    chain: Path
    key: Path

    def write_bundle(self, file: Path) -> Path:
        """Chain and key in one PEM file, mode 600, for programs that take it so; returns it."""
        file.touch(mode=0o600)
        file.write_bytes(self.chain.read_bytes() + self.key.read_bytes())
        return file


class Pki:
    """One certificate authority and what it issued, as PEM files below `directory`.

    ca_file: what clients must trust
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.ca_file = directory / "ca.pem"
        self._authority = trustme.CA(organization_name="tamperlab", organization_unit_name="one run only")
        self._authority.cert_pem.write_to_path(str(self.ca_file))
        self._issued: dict[tuple[str, ...], Certificate] = {}

    def issue(self, names: Iterable[str]) -> Certificate:
        """A certificate for all `names`, always the same one; its files are called after the first of them."""
        names = tuple(names)
        if names not in self._issued:
            self._issued[names] = self._issue(names)
        return self._issued[names]

    def _issue(self, names: tuple[str, ...]) -> Certificate:
        issued = self._authority.issue_cert(*names, common_name=names[0])
        chain, key = self.directory / f"{names[0]}.pem", self.directory / f"{names[0]}.key"
        for number, certificate in enumerate(issued.cert_chain_pems):
            certificate.write_to_path(str(chain), append=number > 0)
        key.touch(mode=0o600)
        issued.private_key_pem.write_to_path(str(key))
        return Certificate(names, chain, key)
