"""Two ends, and between them a box that changes what they say: each sees one stream, and numbers of its own count.

The ends are small TCPs that trust what they are told: what was acknowledged, by ACK or by SACK, is never sent again.
The network loses, repeats and reorders packets on both sides of the box, and segments are cut anew when sent again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from random import Random
from struct import pack, unpack_from

import pytest
from hypothesis import given, settings, strategies as st

from middlebox.decision import Verdict
from middlebox.engine import Engine
from middlebox.filters import compile_filter
from middlebox.flow import Direction, Side
from middlebox.packet import ACK, PSH, Packet, checksum_is_right, decode, tcp_options, tcp_segment
from middlebox.profile import Deployment, Phase, Placement, Profile, Rewrite, Rule, Substitution, TcpReading
from middlebox.seqnum import distance
from tests.property.packet_soup import V4, V6

KEYWORD = b"STARTTLS"
ROUNDS = 4000
PORTS = (40000, 587)


@dataclass
class End:
    """One end: what it says, and what it has heard. Offsets count from its own and the other's initial number."""

    says: bytes
    isn: int
    other_isn: int
    acked: int = 0
    sent: int = 0
    held: set[int] = field(default_factory=set)  # offsets that the other end says it holds
    heard: dict[int, int] = field(default_factory=dict)  # offset -> byte

    @property
    def expects(self) -> int:
        offset = len(self._joined)
        while offset in self.heard:
            self._joined.append(self.heard[offset])
            offset += 1
        return offset

    def __post_init__(self) -> None:
        self._joined = bytearray()

    @property
    def stream(self) -> bytes:
        assert self.expects == len(self._joined)
        return bytes(self._joined)

    def speak(self, rng: Random) -> tuple[int, bytes] | None:
        """(offset, bytes) of a segment: something new, or again what is missing, cut anywhere."""
        if self.sent < len(self.says) and (self.sent - self.acked < 400 and rng.random() < 0.7):
            begin, end = self.sent, min(self.sent + rng.randrange(1, 60), len(self.says))
            self.sent = end
            return begin, self.says[begin:end]
        missing = [o for o in range(self.acked, self.sent) if o not in self.held]
        if not missing:
            return None
        begin = missing[0] if rng.random() < 0.7 else rng.choice(missing)
        end = begin + 1
        limit = begin + rng.randrange(1, 80)
        while end < min(limit, self.sent) and end not in self.held:
            end += 1
        return begin, self.says[begin:end]

    def hear(self, p: Packet) -> None:
        """Take a segment: bytes must be those heard before, numbers must make sense."""
        start = distance(self.other_isn, p.seq)
        for at, byte in enumerate(p.payload, start):
            assert self.heard.setdefault(at, byte) == byte, f"two versions of byte {at}"
        acked = distance(self.isn, p.ack)
        assert acked <= self.sent, "something was acknowledged that was never sent"
        self.acked = max(self.acked, acked)
        for kind, value in tcp_options(p):
            if kind == 5:
                for at in range(0, len(value), 8):
                    left, right = (distance(self.isn, edge) for edge in unpack_from("!II", value, at))
                    assert right <= self.sent
                    self.held.update(range(left, right))

    def sack(self) -> bytes:
        """What is held beyond a hole, as SACK blocks."""
        beyond = sorted(offset for offset in self.heard if offset > self.expects)
        blocks: list[list[int]] = []
        for offset in beyond:
            if blocks and offset == blocks[-1][1]:
                blocks[-1][1] += 1
            else:
                blocks.append([offset, offset + 1])
        edges = [(self.other_isn + edge) & 0xFFFFFFFF for block in blocks[-3:] for edge in block]
        return (
            b"\x01\x01" + bytes((5, 2 + 4 * len(edges))) + pack(f"!{len(edges)}I", *edges) if edges else b""
        )


@dataclass
class World:
    """Both ends, the box, and what is under way on either side of it."""

    rng: Random
    engine: Engine
    ends: tuple[End, End]
    addresses: tuple[bytes, bytes]
    before_box: list[tuple[Direction, bytes]] = field(default_factory=list)
    behind_box: list[tuple[Direction, bytes]] = field(default_factory=list)

    def send(self, direction: Direction, *, ack_only: bool) -> None:
        end = self.ends[direction]
        said = None if ack_only else end.speak(self.rng)
        offset, payload = said or (end.sent, b"")
        data = tcp_segment(
            src=self.addresses[direction], dst=self.addresses[1 - direction],
            sport=PORTS[direction], dport=PORTS[1 - direction], seq=(end.isn + offset) & 0xFFFFFFFF,
            ack=(end.other_isn + end.expects) & 0xFFFFFFFF, flags=ACK | PSH, window=500, ttl=60,
            options=end.sack(), payload=payload,
        )  # fmt: skip
        self.before_box.append((direction, data))

    def pick(self, queue: list[tuple[Direction, bytes]]) -> tuple[Direction, bytes] | None:
        """The next packet to arrive: mostly the oldest; some get lost, some come twice."""
        if not queue:
            return None
        at = 0 if self.rng.random() < 0.7 else self.rng.randrange(len(queue))
        packet = queue[at]
        if self.rng.random() > 0.05:
            del queue[at]
        return packet if self.rng.random() > 0.1 else None

    def through_box(self, now_ns: int) -> None:
        arrived = self.pick(self.before_box)
        if arrived is None:
            return
        direction, data = arrived
        decision = self.engine.handle(data, now_ns, Side(direction), direction)
        if decision.verdict is Verdict.ACCEPT:
            self.behind_box.append((direction, decision.replacement or data))

    def to_end(self) -> None:
        arrived = self.pick(self.behind_box)
        if arrived is None:
            return
        direction, data = arrived
        p = decode(data)
        assert p is not None
        assert checksum_is_right(p)
        self.ends[1 - direction].hear(p)
        if p.payload:
            self.send(direction.opposite, ack_only=True)

    def run(self) -> None:
        for number in range(ROUNDS):
            if all(end.acked == len(end.says) for end in self.ends):
                return
            self.send(self.rng.choice(tuple(Direction)), ack_only=False)
            for _ in range(2):
                self.through_box(number)
                self.to_end()
        raise AssertionError("the ends never came to an end")


def conversation(rng: Random) -> bytes:
    """Text with the keyword here and there; no byte of a replacement in it."""
    words = [
        KEYWORD if rng.random() < 0.3 else rng.randbytes(rng.randrange(1, 30)).hex().encode()
        for _ in range(20)
    ]
    return b" ".join(words)


def world(seed: int, replacement: bytes) -> World:
    rng = Random(seed)
    rule = Rule(
        "change", compile_filter('tcp.payload contains "STARTTLS"'),
        (Rewrite((Substitution(re.compile(KEYWORD), replacement),)),),
    )  # fmt: skip
    profile = Profile("p", "", Placement.IN_PATH, (rule,), TcpReading())
    engine = Engine(Deployment("d", (Phase(0, profile),)), Random(1), 0)
    isns = [rng.choice((rng.getrandbits(32), 2**32 - rng.randrange(1, 900))) for _ in range(2)]
    ends = End(conversation(rng), isns[0], isns[1]), End(conversation(rng), isns[1], isns[0])
    return World(rng, engine, ends, rng.choice((V4, V6)))


@settings(max_examples=60)
@given(seed=st.integers(0, 1 << 32), replacement=st.sampled_from([b"", b"!", b"!!!!!!!!", b"!" * 40]))
def test_two_ends_hear_one_stream_each_through_a_box_that_rewrites(seed: int, replacement: bytes) -> None:
    """Everything arrives, once, in one version, whatever is lost, repeated or reordered; numbers may wrap."""
    played = world(seed, replacement)
    played.run()
    for direction in Direction:
        said, heard = played.ends[direction].says, played.ends[1 - direction].stream
        if replacement:
            assert heard.replace(replacement, KEYWORD) == said
        else:
            kept = [re.escape(part) for part in said.split(KEYWORD)]
            assert re.fullmatch(b"(?:STARTTLS)?".join(kept), heard)


@pytest.mark.parametrize("replacement", [b"", b"!", b"!" * 40])
def test_box_rewrites_nearly_all_in_such_a_network(replacement: bytes) -> None:
    """The comparison means something: only a keyword that was cut on its way to the box is not replaced."""
    played = world(3, replacement)
    played.run()
    assert b"STARTTLS" in played.ends[0].says
    assert played.ends[1].stream.count(KEYWORD) < played.ends[0].says.count(KEYWORD)
