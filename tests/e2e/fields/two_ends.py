"""What each of two ends has seen of one connection, for profiles that change what is said on its way.

Read from the captures of the two hosts, not of the box; streams are put together here, by nobody's reassembly but this.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from middlebox.packet import ACK, FIN, SYN, Packet
from scenarios.record import FlowEnds
from tests.e2e.fields.finished import Connection, Run

_KIND_SACK = 5


@dataclass(frozen=True)
class End:
    """One end's capture of a connection. Numbers are relative: each sender's SYN has 0."""

    ends: FlowEnds
    packets: tuple[Packet, ...]

    def sent_by(self, who: str) -> list[Packet]:
        """The packets of the `client` or the `server`, in the order in which this end saw them."""
        address, port = self._of(who)
        return [p for p in self.packets if (p.src, p.sport) == (address, port)]

    def _of(self, who: str) -> tuple[bytes, int]:
        if who == "client":
            return self.ends.client, self.ends.client_port
        return self.ends.server, self.ends.server_port

    def isn(self, who: str) -> int:
        return next(p.seq for p in self.sent_by(who) if p.flags & SYN)

    def segments(self, who: str) -> list[tuple[int, bytes]]:
        """(relative number, payload) of all that has one, in order of time."""
        start = self.isn(who)
        return [((p.seq - start) & 0xFFFFFFFF, p.payload) for p in self.sent_by(who) if p.payload]

    def stream(self, who: str) -> bytes:
        """All bytes of an end up to the first hole. Fails where two segments do not agree about a byte."""
        data = bytearray()
        for number, payload in sorted(self.segments(who)):
            at = number - 1
            assert at <= len(data), f"a hole before byte {at}"
            known = data[at : at + len(payload)]
            assert payload[: len(known)] == known, f"another byte than before, from {at} on"
            data += payload[len(known) :]
        return bytes(data)

    def lines(self, who: str) -> list[bytes]:
        return self.stream(who).split(b"\r\n")

    def acknowledged(self, who: str) -> list[int]:
        """What `who` told the other end that it has, relative to the other's SYN: ACK numbers, by time."""
        start = self.isn("server" if who == "client" else "client")
        return [(p.ack - start) & 0xFFFFFFFF for p in self.sent_by(who) if p.flags & (SYN | ACK) == ACK]

    def sacked(self, who: str) -> list[tuple[int, int]]:
        """The SACK blocks that `who` sent, relative to the other's SYN."""
        start = self.isn("server" if who == "client" else "client")
        return [
            ((left - start) & 0xFFFFFFFF, (right - start) & 0xFFFFFFFF)
            for p in self.sent_by(who)
            for left, right in sack_blocks(p.tcp_options)
        ]

    def next_number(self, who: str) -> int:
        """One behind the last byte, or FIN, of an end."""
        start = self.isn(who)
        return max(
            ((p.seq - start) & 0xFFFFFFFF) + len(p.payload) + bool(p.flags & FIN) for p in self.sent_by(who)
        )


def sack_blocks(options: bytes) -> list[tuple[int, int]]:
    """(left edge, right edge) of each block in TCP options (RFC 2018)."""
    at = 0
    while at < len(options) and options[at]:
        if options[at] == 1:
            at += 1
            continue
        size = options[at + 1]
        if options[at] == _KIND_SACK:
            edges = [int.from_bytes(options[i : i + 4], "big") for i in range(at + 2, at + size, 4)]
            return list(zip(edges[::2], edges[1::2], strict=True))
        at += size
    return []


def both_ends(run: Run, connection: Connection) -> tuple[End, End]:
    """The client's and the server's view."""
    ends = connection.ends
    at_client, at_server = (
        End(ends, tuple(run.at_host(host, connection))) for host in (ends.client_host, ends.server_host)
    )
    return at_client, at_server


def tshark(capture: Path, display_filter: str, *options: str) -> list[str]:
    """One line for each packet that Wireshark's filter shows."""
    program = shutil.which("tshark")
    assert program is not None, "tshark is not installed; make setup-servers installs it"
    argv = [program, *options, "-r", str(capture), "-Y", display_filter]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()
