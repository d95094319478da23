"""What a forged packet looks like, field by field, and the numbers that its fields can be.

Part of the frozen model (`profile`): made by `load_look` from YAML, read by `forge`. Nothing in here draws or computes.
Times are nanoseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from middlebox.expression import Expression


@dataclass(frozen=True, slots=True)
class Constant:
    """Always this number."""

    value: int


@dataclass(frozen=True, slots=True)
class Uniform:
    """A whole number drawn evenly from `low..high`, both included: `{range: [1, 65535]}` or `random`."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Copied:
    """The same field of the trigger packet: `copied`."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """TTL only: what the trigger had left when it reached the box, `mirror`."""


@dataclass(frozen=True, slots=True)
class Counter:
    """Goes on from packet to packet for the life of the box: `{counter: {start: 0, step: 1, modulo: 65536}}`.

    `per` says what has a counter of its own: the whole box, or each forged group (`group`: start, start+step, ...
    within one answer to one trigger). `each`: what moves it on, every packet or every group, whose packets then share
    the number. `of`: a number that chooses among many counters that all begin at `start`; None: there is one.
    A counter goes by its identity: what is written once in a file is one counter, in however many looks it is.
    """

    start: int
    step: int
    modulo: int
    per: str  # 'box' | 'group'
    each: str = "packet"  # 'packet' | 'group'
    of: Expression | None = None


@dataclass(frozen=True, slots=True)
class Computed:
    """An expression over the forged packet's own numbers, e.g. `(-1 - 13 * window) & 0xffff`."""

    expression: Expression


Number = Constant | Uniform | Copied | Mirrored | Counter | Computed


class SeqFrom(Enum):
    """Where the sequence number of a forged packet starts.

    EXPECTED: the next one its receiver waits for (RFC 9293 RCV.NXT as the box sees it).
    COPIED: the trigger's own sequence number, whoever gets the packet.
    TRIGGER_ACK: the acknowledgment number of the trigger, whoever gets the packet.
    """

    EXPECTED = "expected"
    COPIED = "copied"
    TRIGGER_ACK = "trigger-ack"


class AckFrom(Enum):
    """EXPECTED: acknowledges all that the box has seen of the receiver. COPIED: the trigger's. ZERO: 0.
    TRIGGER_SEQ: the trigger's sequence number."""

    EXPECTED = "expected"
    COPIED = "copied"
    TRIGGER_SEQ = "trigger-seq"
    ZERO = "zero"


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A delay drawn from a distribution given by its published quantiles, linear in between.

    `points`: (share below, delay in ns), shares rising from 0.0 to 1.0.
    """

    points: tuple[tuple[float, int], ...]


@dataclass(frozen=True, slots=True)
class Look:
    """What a forged packet looks like, field by field."""

    count: int = 1
    flags: int = 0x04
    seq: SeqFrom | Number = SeqFrom.EXPECTED
    seq_offsets: tuple[int, ...] = (0,)  # packet i of the group: seq + seq_offsets[min(i, last)]
    ack: AckFrom | Number = (
        AckFrom.EXPECTED
    )  # written as 0 unless `flags` has ACK or the profile gives a number
    window: Number = Constant(0)
    ttl: Number = Constant(64)  # as it leaves the box
    ip_id: Number = Constant(0)
    dont_fragment: bool = False
    tos: int = 0
    options: bytes = b""
    payload: bytes = b""
    spacing_ns: int = 0  # between the packets of a group
    delay: int | Quantiles = 0  # from trigger to first forged packet, ns
    identical: bool = False  # every packet of the group is a copy of the first
