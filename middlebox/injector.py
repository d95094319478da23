"""EDGE. The injection port: forged packets enter the box's own routing as if they had arrived by a cable.

A veth pair inside the box's network namespace; a frame written to one end comes out of the other and is routed.
A raw IP socket will not do: the kernel fills in an IP ID where it is 0, and real systems send 0. Nothing of a packet
is changed on the way but the TTL, and that is made up for here, so that it leaves the box as the engine wrote it.
"""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from middlebox.kernel import EXACT_TTLS, INJECT_FROM, INJECT_INTO
from middlebox.packet import with_ttl

_MAC_FROM: Final = "02:00:00:00:00:01"
_MAC_INTO: Final = "02:00:00:00:00:02"
_ETHERTYPES: Final = {4: b"\x08\x00", 6: b"\x86\xdd"}

_SET_UP: Final = f"""\
link add {INJECT_FROM} mtu 65535 address {_MAC_FROM} type veth peer name {INJECT_INTO} mtu 65535 address {_MAC_INTO}
link set {INJECT_FROM} addrgenmode none arp off up
link set {INJECT_INTO} addrgenmode none arp off up
"""

_PORT_SYSCTLS: Final = {
    f"net/ipv4/conf/{INJECT_INTO}/rp_filter": "0",
    f"net/ipv4/conf/{INJECT_INTO}/forwarding": "1",
    f"net/ipv6/conf/{INJECT_INTO}/forwarding": "1",
    f"net/ipv6/conf/{INJECT_INTO}/accept_ra": "0",
}


class InjectorError(Exception):
    """The port cannot be made."""


class Injector:
    """The port: there while the context manager is entered. InjectorError: it cannot be made."""

    def __init__(self) -> None:
        self._routed = {version: _header(_MAC_FROM, version) for version in (4, 6)}
        self._exact = {
            (ttl, version): _header(mac, version) for ttl, mac in EXACT_TTLS.items() for version in (4, 6)
        }

    def __enter__(self) -> Self:
        _delete()  # what an earlier box left behind when it was killed: the same port, by name
        made = subprocess.run(
            ["ip", "-batch", "-"], input=_SET_UP, text=True, capture_output=True, check=False
        )
        if made.returncode:
            raise InjectorError(
                f"expected to make a veth pair, got {made.stderr.strip()!r}; run the box as root of its namespace"
            )
        for path, value in _PORT_SYSCTLS.items():
            write_sysctl(path, value)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((INJECT_FROM, 0))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        _delete()

    def send(self, data: bytes) -> None:
        """Put one IP packet on its way. `data`: from the IP header on, as it leaves the box."""
        version = data[0] >> 4
        ttl = data[8] if version == 4 else data[7]
        header = self._exact.get((ttl, version))
        if header is None:
            self._socket.send(self._routed[version] + with_ttl(data, ttl + 1))  # routing takes one
        else:
            self._socket.send(header + with_ttl(data, 255))


def write_sysctl(path: str, value: str) -> bool:
    """Set a knob of this network namespace below /proc/sys; False where the kernel has none or forbids it."""
    try:
        Path("/proc/sys", path).write_text(value)
    except OSError:
        return False
    return True


def _header(source_mac: str, version: int) -> bytes:
    macs = bytes.fromhex((_MAC_INTO + source_mac).replace(":", ""))
    return macs + _ETHERTYPES[version]


def _delete() -> None:
    subprocess.run(["ip", "link", "delete", INJECT_FROM], stderr=subprocess.DEVNULL, check=False)
