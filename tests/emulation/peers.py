"""Two peers and a router between them, in network namespaces of the test's own: no Mininet, no lab.

    client eth0 ---- inside [router: the box] outside ---- eth0 server

Sockets are made *in* a namespace and handed to the test (SCM_RIGHTS): a test holds both ends of a connection and the
captures of both ends itself. As root the namespaces are plain; `user=True`, or an ordinary user, puts them into a user
namespace. Everything goes when the test process goes, by `kill -9` too.
"""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]
CLIENT4, CLIENT6 = "192.0.2.10", "2001:db8:1::10"
SERVER4, SERVER6 = "203.0.113.25", "2001:db8:3::25"

SLOW_MACHINE_S = 20.0
"""Until a test gives up: what is to come comes at once on an idle machine, but one can stand still (chosen)."""

_ETH_P_ALL = 3
_PACKET_OUTGOING = 4
_AGENT = """
import os, socket, struct, sys
channel = socket.socket(fileno=int(sys.argv[1]))
channel.send(b"ready")
while request := channel.recv(12):
    with socket.socket(*struct.unpack("iii", request)) as made:
        socket.send_fds(channel, [b"x"], [made.fileno()])
"""

_BOX_LINKS = """
set -e
# Nobody else is on these links: link-local addresses need not be tried out for a second.
for i in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $i; done
ip -batch - <<END
link set lo up
link add inside type veth peer name eth0 netns {client}
link add outside type veth peer name eth0 netns {server}
addr add 192.0.2.1/24 dev inside
addr add 203.0.113.1/24 dev outside
addr add 2001:db8:1::1/64 dev inside nodad
addr add 2001:db8:3::1/64 dev outside nodad
link set inside up
link set outside up
END
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""

_PEER_LINKS = """
set -e
# Nobody else is on these links: link-local addresses need not be tried out for a second.
for i in /proc/sys/net/ipv6/conf/*/accept_dad; do echo 0 > $i; done
ip -batch - <<END
link set lo up
addr add {ipv4}/24 dev eth0
addr add {ipv6}/64 dev eth0 nodad
link set eth0 up
route add default via {gateway4}
route add default via {gateway6}
END
test {offloads} = on || ethtool -K eth0 tx off tso off gso off gro off >/dev/null
"""


class Namespace:
    """One network namespace with an agent that makes sockets in it."""

    def __init__(self, name: str, argv_prefix: Sequence[str], identity: dict[str, Any]) -> None:
        self.name = name
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fd = theirs.fileno()
        self._agent = subprocess.Popen(
            [*argv_prefix, sys.executable, "-ISc", _AGENT, str(fd)], pass_fds=[fd], **identity
        )
        theirs.close()
        assert self._channel.recv(16) == b"ready", (
            f"{name}: no namespace; does this machine allow user namespaces?"
        )
        self.pid = self._agent.pid
        self._enter = ["nsenter", "-t", str(self.pid), "-n"]
        self._captures: list[Capture] = []
        self._identity: dict[str, Any] = {}
        if identity:
            self._enter += ["-U", "--preserve-credentials"]
            self._identity = identity

    def socket(self, family: int, kind: int, protocol: int = 0) -> socket.socket:
        """A socket that lives in this namespace."""
        self._channel.send(struct.pack("iii", family, kind, protocol))
        _, fds, _, _ = socket.recv_fds(self._channel, 1, 1)
        return socket.socket(fileno=fds[0])

    def capture(self, interface: str = "eth0") -> Capture:
        """Everything that comes and goes on an interface from now on."""
        source = self.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._captures.append(Capture(source, interface))
        return self._captures[-1]

    def popen(self, argv: Sequence[str], **kwargs: Any) -> subprocess.Popen[bytes]:
        """Start a program in this namespace; its pid is the program's own."""
        return subprocess.Popen([*self._enter, "--", *argv], **self._identity, **kwargs)

    def run(self, argv: Sequence[str], *, text_in: str = "") -> str:
        """Run a program to its end and return what it wrote."""
        done = subprocess.run(
            [*self._enter, "--", *argv],
            input=text_in,
            capture_output=True,
            text=True,
            check=True,
            **self._identity,
        )
        return done.stdout

    def close(self) -> None:
        for capture in self._captures:
            capture.close()
        self._channel.close()
        self._agent.wait()


class Capture:
    """IP packets on one interface, in the kernel's order, as (came in, bytes from the IP header on)."""

    def __init__(self, source: socket.socket, interface: str) -> None:
        self._source = source
        source.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        source.bind((interface, _ETH_P_ALL))
        source.setblocking(False)
        self._seen: list[tuple[bool, bytes]] = []

    def packets(self) -> list[tuple[bool, bytes]]:
        """All up to now."""
        while True:
            try:
                data, address = self._source.recvfrom(0x10000 + 64)
            except BlockingIOError:
                return self._seen
            if address[1] in (0x0800, 0x86DD):
                self._seen.append((address[2] != _PACKET_OUTGOING, data))

    def received(self) -> list[bytes]:
        return [data for came_in, data in self.packets() if came_in]

    def close(self) -> None:
        self._source.close()


class Peers:
    """The three namespaces, wired. `offloads`: leave segmentation and checksum offload on at the peers.

    `folder`: where programs in the namespaces may write, whoever they are; goes with them.
    """

    def __init__(self, *, user: bool = False, offloads: bool = False) -> None:
        identity: dict[str, Any] = {}
        outer = ["unshare", "-n"]
        inner: list[str] = []
        if user and os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            identity = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        if user or os.geteuid() != 0:
            identity = identity or {"user": None}
            # In two steps: only a network that is made after the ids are mapped belongs to the root in there.
            outer = ["unshare", "-Ur", "unshare", "-n"]
        # Not pytest's folder: the user of a user namespace may not even enter that.
        self.folder = Path(tempfile.mkdtemp(prefix="peers-"))
        self.folder.chmod(0o777)
        self.box = Namespace("box", outer, identity)
        if identity:
            inner = ["nsenter", "-t", str(self.box.pid), "-U", "--preserve-credentials", "--"]
        self.client = Namespace("client", [*inner, "unshare", "-n"], identity)
        self.server = Namespace("server", [*inner, "unshare", "-n"], identity)
        self.box.run(["sh"], text_in=_BOX_LINKS.format(client=self.client.pid, server=self.server.pid))
        for peer, ipv4, ipv6 in ((self.client, CLIENT4, CLIENT6), (self.server, SERVER4, SERVER6)):
            gateway4 = ipv4.rpartition(".")[0] + ".1"
            gateway6 = ipv6.rpartition(":")[0] + ":1"
            peer.run(
                ["sh"],
                text_in=_PEER_LINKS.format(
                    ipv4=ipv4,
                    ipv6=ipv6,
                    gateway4=gateway4,
                    gateway6=gateway6,
                    offloads="on" if offloads else "off",
                ),
            )

    def connection(
        self, port: int, *, ipv6: bool = False, client_port: int = 0
    ) -> tuple[socket.socket, socket.socket]:
        """An established TCP connection: (client's socket, server's socket). OSError as connect(2)."""
        family, here, there = (
            (socket.AF_INET6, CLIENT6, SERVER6) if ipv6 else (socket.AF_INET, CLIENT4, SERVER4)
        )
        with self.server.socket(family, socket.SOCK_STREAM) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((there, port))
            listening.listen()
            near = self.client.socket(family, socket.SOCK_STREAM)
            near.settimeout(SLOW_MACHINE_S)
            near.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            near.bind((here, client_port))
            near.connect((there, port))
            listening.settimeout(SLOW_MACHINE_S)
            far, _ = listening.accept()
            far.settimeout(SLOW_MACHINE_S)
            return near, far

    def close(self) -> None:
        for namespace in (self.client, self.server, self.box):
            namespace.close()
        shutil.rmtree(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def until(condition: Callable[[], Any], what: str, *, timeout_s: float = SLOW_MACHINE_S) -> Any:
    """The first true value of `condition`. AssertionError: it did not come in time."""
    end = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"expected {what} within {timeout_s} s"
        time.sleep(0.005)
