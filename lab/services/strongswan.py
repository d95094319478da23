"""strongSwan in a folder of its own: its daemon charon, and swanctl to tell it what to do; for IKE's server and client.

Nothing of the machine's own strongSwan is read or touched: configuration, keys and control socket lie in the folder,
and /run is charon's own, where it has its process ID. What runs are copies of the two programs, for AppArmor knows them
by their path and would let them read /etc only. No IPsec connection ever comes up (`childless`): the key exchange needs
no kernel that has IPsec, and it is what boxes look at.

Sources: strongswan.conf(5), swanctl.conf(5), swanctl(8); RFC 6023 (childless IKE).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

from lab.errors import LabError
from lab.host import Host
from lab.services.base import (
    OUTPUT,
    READY_POLL_S,
    READY_TIMEOUT_S,
    SYSTEM_PATH,
    end_process,
    find_program,
    start_process,
    with_own_run,
)

_SOCKET = "vici"
"""Relative to the folder, where all these programs run: a socket's whole path may have 107 bytes only (unix(7))."""
PACKAGES = "strongswan-charon strongswan-swanctl libstrongswan-standard-plugins"
CHARON_DIRECTORY = "/usr/lib/ipsec"

_CONFIGURATION = """\
charon {{
  load = {plugins} kernel-netlink socket-default vici
  port = {port}
  port_nat_t = {nat_port}
  install_routes = no
  install_virtual_ip = no
  plugins {{ vici {{ socket = unix://{socket} }} }}
  filelog {{ stderr {{ default = 1 }} }}
}}
swanctl {{ load = {plugins} }}
"""
# Where strongSwan was built without one of them, another has the same to offer: what is missing it passes over.
_PLUGINS = "random nonce aes sha1 sha2 hmac kdf pem pkcs1 pkcs8 x509 pubkey constraints openssl drbg"

SWANCTL_TIMEOUT_S = 30.0
"""Limit for loading a configuration (chosen; it takes hundredths of a second)."""


class StrongSwan:
    """A charon that is running on a host. process: charon itself, to be ended by `stop`; log: what it printed."""

    def __init__(self, host: Host, directory: Path, *, port: int, nat_port: int) -> None:
        """Start it; ready when this returns. port, nat_port: its own, 0 for any. LabError: it does not come up."""
        self._host = host
        self._directory = directory
        self.log = directory / OUTPUT
        (directory / "private").mkdir(parents=True)
        (directory / "strongswan.conf").write_text(
            _CONFIGURATION.format(plugins=_PLUGINS, port=port, nat_port=nat_port, socket=_SOCKET)
        )
        charon = self._copy_of("charon", CHARON_DIRECTORY)
        self._swanctl = self._copy_of("swanctl", SYSTEM_PATH)
        configured = ["env", "-C", str(directory), f"STRONGSWAN_CONF={directory / 'strongswan.conf'}"]
        self.process = start_process(host, with_own_run([*configured, charon]), directory)
        self._wait_ready()

    @property
    def environment(self) -> dict[str, str]:
        """What swanctl must have in its environment; its working directory must be the folder."""
        return {
            "PATH": SYSTEM_PATH,
            "LC_ALL": "C.UTF-8",
            "SWANCTL_DIR": str(self._directory),
            "STRONGSWAN_CONF": str(self._directory / "strongswan.conf"),
        }

    def swanctl(self, *arguments: str) -> list[str]:
        """A command line for swanctl that talks to this charon."""
        return [self._swanctl, *arguments, "--uri", f"unix://{_SOCKET}"]

    def load(self, connections: str, *, key: bytes) -> None:
        """Tell it its connections, in swanctl.conf's language, and its private key (PEM). LabError: it refuses."""
        file = self._directory / "private" / "key.pem"
        file.touch(mode=0o600)
        file.write_bytes(key)
        (self._directory / "swanctl.conf").write_text(connections)
        argv = self.swanctl("--load-all", "--noprompt")
        done = self._host.run(argv, timeout_s=SWANCTL_TIMEOUT_S, env=self.environment, cwd=self._directory)
        if done.returncode != 0:
            raise LabError(
                f"expected strongSwan to take its configuration, got {done.stderr.decode()[-300:]!r}",
                f"read {self._directory}",
            )

    def stop(self) -> None:
        """Take leave of all peers and end."""
        end_process(self.process)

    def _copy_of(self, program: str, path: str) -> str:
        original = find_program(program, package=PACKAGES, path=path)
        return str(shutil.copy(original, self._directory / program))

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not self._listens():
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-300:]
                self.stop()
                raise LabError(f"expected charon to come up, got {said!r}", f"read {self._directory}")
            time.sleep(READY_POLL_S)

    def _listens(self) -> bool:
        folder = os.open(self._directory, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                return probe.connect_ex(f"/proc/self/fd/{folder}/{_SOCKET}") == 0
        finally:
            os.close(folder)


def version() -> str:
    """Such as `strongSwan 5.9.8`."""
    charon = find_program("charon", package=PACKAGES, path=CHARON_DIRECTORY)
    done = subprocess.run([charon, "--version"], capture_output=True, text=True, check=False)
    return done.stdout.strip().replace("Linux ", "")
