"""The SSH server: OpenSSH's sshd on port 22 with a host key and a user key made for this run.

An ordinary user runs it (see identity.py) and may log in as that user only.

Sources: sshd(8), sshd_config(5), ssh-keygen(1).
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.host import Host
from lab.services.base import OUTPUT, Port, Service, find_program, start_process
from lab.services.identity import USER, as_ordinary_user

PORT = 22

_CONFIGURATION = """\
Port {port}
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/identity.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
PrintMotd no
LogLevel VERBOSE
"""


def start(host: Host, directory: Path) -> Service:
    """Start sshd. facts: `user` and `identity_file` let a client in, `known_hosts` has its key for any name."""
    program = find_program("sshd", package="openssh-server")
    keygen = find_program("ssh-keygen", package="openssh-client")
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "identity"):
        key = directory / name
        subprocess.run(
            [keygen, "-q", "-t", "ed25519", "-N", "", "-C", "tamperlab", "-f", str(key)], check=True
        )
    known_hosts = directory / "known_hosts"
    known_hosts.write_text("* " + (directory / "host_key.pub").read_text())
    configuration = directory / "sshd_config"
    configuration.write_text(_CONFIGURATION.format(port=PORT, directory=directory))
    # -D: stay in the foreground; -e: log to standard error.
    argv = as_ordinary_user([program, "-D", "-e", "-f", str(configuration)], directory=directory)
    process = start_process(host, argv, directory)
    facts: dict[str, object] = {
        "program": program,
        "version": version(),
        "user": USER,
        "identity_file": str(directory / "identity"),
        "known_hosts": str(known_hosts),
    }
    return Service("ssh", directory, [process], (Port(PORT),), directory / OUTPUT, facts)


def version() -> str:
    """The version of OpenSSH, such as `OpenSSH_9.2p1`: client and server come from one source."""
    text = subprocess.run(
        [find_program("ssh", package="openssh-client"), "-V"], capture_output=True, text=True, check=True
    )
    return text.stderr.partition(",")[0]
