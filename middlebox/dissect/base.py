"""What every protocol dissector is: bytes of a stream in, named fields out.

A dissector belongs to one flow and reads both directions of it. It is incremental: the bytes come in order but cut
anywhere, and a field is reported with the bytes that completed it. Field names and values are Wireshark's (checked
against tshark 4.0.17 in the tests), so that a rule can be tried in Wireshark.

A dissector must never raise because of what is in the bytes, never hold more than its named limits, and never look
at a clock or a socket.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from enum import Enum
from typing import ClassVar, NamedTuple

from middlebox.flow import Direction

Value = int | str | bytes | bool
Fields = dict[str, list[Value]]
Alive = tuple[frozenset[str], frozenset[str]]

NOTHING_ALIVE: Alive = (frozenset(), frozenset())


class FieldType(Enum):
    """What a field's values are. Presence (a protocol's name, a message without a value) is BOOL, always True."""

    UINT = "uint"
    BOOL = "bool"
    STRING = "string"
    BYTES = "bytes"
    IPV4 = "ipv4"
    IPV6 = "ipv6"


class FieldSpec(NamedTuple):
    """A field that a dissector can report. `sent_by`: the only end whose packets can carry it; None: either end."""

    type: FieldType
    sent_by: Direction | None
    description: str


class Dissector(ABC):
    """One flow, read as one protocol.

    `alive`: for each direction the field groups (`field_group`) that may still come. It is replaced by a new tuple when
    something changed and stays the same object otherwise, so it can be compared with `is`. It only ever shrinks.

    `couples_directions`: one direction cannot be understood without the other (what a command means, its reply says),
    so both must be fed although only one of them is wanted.
    """

    __slots__ = ("alive", "couples_directions")

    protocol: ClassVar[str]
    FIELDS: ClassVar[Mapping[str, FieldSpec]]

    alive: Alive
    couples_directions: bool

    @property
    def remaining(self) -> Dissector:
        """What has to be fed from now on to find all that may still come."""
        return self

    @abstractmethod
    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        """Read the next bytes of one direction and add to `fields` what they completed."""

    @abstractmethod
    def restart(self, direction: Direction) -> None:
        """Bytes were lost, or must not be joined: forget the message that is half read in this direction."""


class DatagramDissector(Dissector):
    """One flow of whole datagrams (UDP, or another IP protocol): each `feed` is one, and none is joined to the next."""

    __slots__ = ()

    def restart(self, direction: Direction) -> None:
        """A datagram that is lost leaves nothing half read."""


def add(fields: Fields, name: str, value: Value) -> None:
    """Append one value of a field: Wireshark's fields may occur many times in a packet."""
    values = fields.get(name)
    if values is None:
        fields[name] = [value]
    else:
        values.append(value)


def field_group(name: str) -> str:
    """The group of a field: its protocol. Handshake fields of TLS are apart: they end long before the records."""
    if name.startswith("tls.handshake."):
        return "tls.handshake"
    return name.partition(".")[0]
