"""Which user ids a server may use, and how it runs as an ordinary user of its own in every kind of sandbox.

A sandbox has all ids (root), a range of them, or a single one: its root. Servers such as sshd and Dovecot
insist on changing to another user, unless an ordinary user starts them; so they are started by one. A nested
user namespace shows them uid `UID`, which outside is the sandbox's own root: whatever they write stays the
property of the person who runs the lab. Their mount namespace has a passwd file with that single user and an
empty /run, so the machine's accounts play no part. Must never: change the machine's /etc or /run (the mount
namespace is private).

Sources: user_namespaces(7), mount_namespaces(7), unshare(1), passwd(5).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.host import Host
from lab.services.base import find_program

USER, UID = "alice", 1000
"""The ordinary user as the server sees it (chosen)."""

_PREPARE = """
mount --bind "$1" /etc/passwd
mount --bind "$2" /etc/group
mount -t tmpfs -o mode=755 tmpfs /run
shift 2
while [ "$1" != -- ]; do mkdir -p "$2"; mount --bind "$1" "$2"; shift 2; done
shift
echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start
exec "$@"
"""
"""Arguments: passwd, group file, pairs of folders to bind, `--`, argv. The sysctl is this namespace's own."""


def id_count(host: Host) -> int:
    """How many user ids exist on this host: 1 in a single-id user namespace, 2**32 - 1 for the machine's root."""
    uid_map = host.run(["cat", "/proc/self/uid_map"], timeout_s=30).stdout.decode()
    return sum(int(line.split()[2]) for line in uid_map.splitlines())


def as_ordinary_user(
    argv: Sequence[str], *, directory: Path, binds: Mapping[Path, str] | None = None
) -> list[str]:
    """argv that runs `argv` as `USER`, whose home is `directory`/home, under the same process id.

    binds: folders to show at other places as well, below /run for instance
    """
    home = directory / "home"
    home.mkdir(parents=True, exist_ok=True)
    passwd, group = directory / "passwd", directory / "group"
    passwd.write_text(f"{USER}:x:{UID}:{UID}::{home}:/bin/sh\n")
    group.write_text(f"{USER}:x:{UID}:\n")
    unshare = find_program("unshare", package="util-linux")
    pairs = [text for folder, place in (binds or {}).items() for text in (str(folder), place)]
    nested = [unshare, "--user", f"--map-user={UID}", f"--map-group={UID}", *argv]
    return [
        unshare,
        "--mount",
        "/bin/sh",
        "-ec",
        _PREPARE,
        "sh",
        str(passwd),
        str(group),
        *pairs,
        "--",
        *nested,
    ]
