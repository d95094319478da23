"""A host in a user namespace with a range of ids, as a sandbox of an ordinary user with subordinate ids has.

The test's root writes the id maps that `newuidmap` would write, so no account of the machine needs such a range. The
host's addresses are on `lo`: client and server meet there.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

OWNER_ID = 54_321
"""The ordinary user, whom no machine has; root inside."""

FIRST_SUBORDINATE_ID = 1_000_000

_SET_UP = """
ip link set lo up
ip addr add {ipv4}/32 dev lo
ip addr add {ipv6}/128 dev lo nodad
mount --bind {directory}/resolv.conf /etc/resolv.conf
echo up
exec sleep infinity
"""


class MappedHost:
    """Has the contract of `lab.services.base.Host`; its resolver asks its own address."""

    def __init__(self, directory: Path) -> None:
        self.name, self.interface = "mail", "lo"
        self.ipv4, self.ipv6 = "203.0.113.25", "2001:db8:3::25"
        self._directory = directory

    def __enter__(self) -> Self:
        (self._directory / "resolv.conf").write_text(f"nameserver {self.ipv4}\n")
        script = _SET_UP.format(ipv4=self.ipv4, ipv6=self.ipv6, directory=self._directory)
        # The network namespace must belong to a user namespace that has its ids already, hence the dialogue.
        inner = f"echo made; read go; exec setpriv --reuid=0 --regid=0 --clear-groups unshare -nm sh -ec '{script}'"
        self._anchor = subprocess.Popen(
            ["unshare", "-U", "sh", "-c", inner],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            user=OWNER_ID, group=OWNER_ID, extra_groups=[],
        )
        self._expect(b"made\n")
        for kind in ("uid", "gid"):
            map_file = Path(f"/proc/{self._anchor.pid}/{kind}_map")
            map_file.write_text(f"0 {OWNER_ID} 1\n1 {FIRST_SUBORDINATE_ID} 65535\n")
        assert self._anchor.stdin
        self._anchor.stdin.write(b"go\n")
        self._anchor.stdin.close()
        self._expect(b"up\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._anchor.kill()
        self._anchor.wait()
        assert self._anchor.stdout
        self._anchor.stdout.close()

    def _expect(self, line: bytes) -> None:
        assert self._anchor.stdout
        assert self._anchor.stdout.readline() == line

    def _enter(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", "-t", str(self._anchor.pid), "-n", "-m", "-U", "--setuid=0", "--setgid=0", *argv]

    def popen(self, argv: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
        """Start a program on this host, in a session of its own."""
        return subprocess.Popen(self._enter(argv), start_new_session=True, **options)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program on this host to its end."""
        return subprocess.run(
            self._enter(argv),
            input=input,
            env=env,
            cwd=cwd,
            timeout=timeout_s,
            capture_output=True,
            check=False,
        )
