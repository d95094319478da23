"""A host of its own for tests of services and clients: one network namespace where client and server meet on `lo`.

It has the contract of `lab.services.base.Host` and can be made in the three ways a lab can run: as the machine's root,
in a user namespace with a range of ids (what `newuidmap` gives), and in a user namespace with a single id.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

Ids = Literal["root", "range", "single"]

FIRST_SUBORDINATE_ID = 1_000_000
"""Where the range of ids begins outside. An id nobody on the machine has."""

SET_UP = """
ip link set lo up
ip addr add {ipv4}/32 dev lo
ip addr add {ipv6}/128 dev lo nodad
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
mount --bind {resolv_conf} /etc/resolv.conf
echo up
exec sleep infinity
"""


def ordinary_user() -> pwd.struct_passwd:
    """The user behind the mapped modes: a person's account if the machine has one, else nobody."""
    people = [
        user
        for user in pwd.getpwall()
        if 1000 <= user.pw_uid < 60000 and not user.pw_shell.endswith("nologin")
    ]
    return people[0] if people else pwd.getpwnam("nobody")


class LoneHost:
    """A namespace with addresses on `lo` whose resolver asks `dns_server` (put a dnsmasq there)."""

    def __init__(
        self, directory: Path, *, ids: Ids = "root", ipv4: str = "203.0.113.25", ipv6: str = "2001:db8:3::25"
    ) -> None:
        self.name, self.ipv4, self.ipv6, self.interface = "lone", ipv4, ipv6, "lo"
        self.ids = ids
        resolv_conf = directory / "resolv.conf"
        resolv_conf.write_text(f"nameserver {ipv4}\noptions timeout:2 attempts:1\n")
        script = SET_UP.format(ipv4=ipv4, ipv6=ipv6, resolv_conf=resolv_conf)
        # Two pipes: the namespace exists (so that its ids can be mapped from outside), then: they are mapped, go on.
        self._anchor = subprocess.Popen(
            self._argv(script),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            **self._as_ordinary_user() if ids != "root" else {},
        )
        assert self._anchor.stdout and self._anchor.stdin
        assert self._anchor.stdout.readline() == b"made\n"
        if ids == "range":
            self._map_range(self._anchor.pid)
        self._anchor.stdin.write(b"go\n")
        self._anchor.stdin.close()
        assert self._anchor.stdout.readline() == b"up\n", "the namespace could not be set up"

    def _argv(self, script: str) -> list[str]:
        wait = "echo made; read go; set -e;"
        if self.ids == "range":
            # The network namespace must be owned by a user namespace whose ids are mapped, hence in this order.
            inner = (
                f"{wait} exec setpriv --reuid=0 --regid=0 --clear-groups unshare -nm /bin/sh -ec '{script}'"
            )
            return ["unshare", "-U", "/bin/sh", "-c", inner]
        flags = ["-nm"] if self.ids == "root" else ["-Urnm"]
        return ["unshare", *flags, "/bin/sh", "-c", wait + script]

    def _as_ordinary_user(self) -> dict[str, Any]:
        """Arguments of Popen that make the process an ordinary user's, if it is root's now."""
        if os.geteuid() != 0:
            return {}
        user = ordinary_user()
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    @staticmethod
    def _map_range(pid: int) -> None:
        user = ordinary_user()
        for kind, outer in (("uid", user.pw_uid), ("gid", user.pw_gid)):
            Path(f"/proc/{pid}/{kind}_map").write_text(f"0 {outer} 1\n1 {FIRST_SUBORDINATE_ID} 65535\n")

    def _enter(self, argv: Sequence[str]) -> list[str]:
        user = (
            []
            if self.ids == "root"
            else ["-U", "--setuid=0", "--setgid=0"]
            if self.ids == "range"
            else ["-U", "--preserve-credentials"]
        )
        return ["nsenter", "-t", str(self._anchor.pid), "-n", "-m", *user, *argv]

    def popen(
        self, argv: Sequence[str], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        drop = self._as_ordinary_user() if self.ids == "single" else {}
        return subprocess.Popen(self._enter(argv), env=env, start_new_session=True, **drop, **options)

    def run(
        self,
        argv: Sequence[str],
        *,
        timeout_s: float,
        input: bytes | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | Path | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        drop = self._as_ordinary_user() if self.ids == "single" else {}
        return subprocess.run(
            self._enter(argv),
            input=input,
            env=env,
            cwd=cwd,
            timeout=timeout_s,
            capture_output=True,
            check=False,
            **drop,
        )

    def close(self) -> None:
        self._anchor.kill()
        self._anchor.wait()
        assert self._anchor.stdout
        self._anchor.stdout.close()
