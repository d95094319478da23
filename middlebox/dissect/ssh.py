"""SSH (RFC 4253): the identification line of each end, on any port.

What follows it is a packet protocol that is soon encrypted; of that only the presence is reported, and only to those
who ask for it. Lines that a server may send before its identification (section 4.2) are not waited for. (tshark looks
at port 22 only.)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, Dissector, Fields, FieldSpec, FieldType, add
from middlebox.dissect.lines import without_terminator
from middlebox.flow import Direction

# RFC 4253 section 4.2, CR LF included.
MAX_BANNER_BYTES = 255
_START = b"SSH-"


class SshDissector(Dissector):
    """SSH on any port: found by its first four bytes and refuted by them."""

    __slots__ = ("_banner", "_partial", "_presence")

    protocol: ClassVar[str] = "ssh"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "ssh": FieldSpec(FieldType.BOOL, None, "the packet belongs to an SSH connection"),
        "ssh.protocol": FieldSpec(FieldType.STRING, None, "identification: SSH-2.0-OpenSSH_9.2p1"),
    }

    def __init__(self, fields: frozenset[str] | None) -> None:
        """`fields`: those that rules read, None for all."""
        self._banner = fields is None or "ssh.protocol" in fields
        self._presence = fields is None or "ssh" in fields
        self._partial: list[bytes | None] = [b"", b""]  # of the banner; None behind it
        both = frozenset({"ssh"})
        self.alive = (both, both)
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not data or not self.alive[direction]:
            return
        partial = self._partial[direction]
        if partial is not None and not self._identify(direction, partial + data[:MAX_BANNER_BYTES], fields):
            return
        if self._presence:
            fields["ssh"] = [True]

    def restart(self, direction: Direction) -> None:
        if self._partial[direction]:
            self._partial[direction] = None  # the rest of the banner is lost

    def _identify(self, direction: Direction, start: bytes, fields: Fields) -> bool:
        """Read on in the banner; whether it is complete."""
        end = start.find(b"\n") + 1
        too_long = end > MAX_BANNER_BYTES or (not end and len(start) >= MAX_BANNER_BYTES)
        if too_long or not _START.startswith(start[: len(_START)]):
            self.alive = NOTHING_ALIVE
            return False
        if not end:
            self._partial[direction] = start
            return False
        self._partial[direction] = None
        if self._banner:
            add(fields, "ssh.protocol", without_terminator(start[:end]).decode("latin-1"))
        if not self._presence:
            client, server = self.alive
            self.alive = (client, frozenset()) if direction else (frozenset(), server)
        return True
