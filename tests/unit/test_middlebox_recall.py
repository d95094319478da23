"""What is called back before a packet, and what is when some of it is gone; tests/emulation/test_box_copies.py has it
from the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from middlebox import recall
from middlebox.conntrack import Entry
from middlebox.copies import Copy
from middlebox.decision import PASS, Decision, Offload
from middlebox.flow import Side
from middlebox.kernel import COPIED, NOTED, ORIGINAL, REPLY
from middlebox.packet import ACK, SYN, Packet, decode, tcp_segment
from middlebox.recall import Recall

CLIENT, SERVER = bytes([192, 0, 2, 10]), bytes([203, 0, 113, 80])
IS_SEQ = 1000
HEADER = bytes.fromhex("9c400050") + IS_SEQ.to_bytes(4) + bytes(4) + bytes((0xA0, SYN)) + b"\x01\xf4"


class Engine:
    """Writes down what it is shown."""

    def __init__(self) -> None:
        self.read: list[tuple[int, bytes, int]] = []
        self.says = PASS

    def handle(
        self, data: bytes, now_ns: int, ingress: Side, *_: object, has_passed: bool, **__: object
    ) -> Decision:
        p = decode(data)
        assert p is not None and has_passed and ingress is Side.INSIDE
        self.read.append((p.seq, p.payload, now_ns))
        return self.says


class Kernel:
    """What it has kept."""

    def __init__(self) -> None:
        self.entry: Entry | None = Entry(0, HEADER)
        self.copy: Copy | None = Copy(segment(IS_SEQ + 1, b"GET /"), 5)

    def find(self, *ends: object) -> Entry | None:
        return self.entry if ends == (CLIENT, SERVER, 40000, 80) else None

    def of(self, _ends: bytes, _now_ns: int) -> Copy | None:
        return self.copy

    def close(self) -> None: ...


def segment(seq: int, payload: bytes) -> bytes:
    return tcp_segment(
        src=CLIENT,
        dst=SERVER,
        sport=40000,
        dport=80,
        seq=seq,
        ack=0,
        flags=ACK,
        window=500,
        ttl=64,
        payload=payload,
    )


def asked() -> Packet:
    p = decode(segment(IS_SEQ + 6, b" HTTP/1.1"))
    assert p is not None
    return p


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    made = Kernel()
    monkeypatch.setattr(recall, "CopiedPackets", lambda _group: made)
    monkeypatch.setattr(recall, "Conntrack", lambda: made)
    return made


SYN_READ, COPY_READ = (IS_SEQ, b"", 5), (IS_SEQ + 1, b"GET /", 5)


def test_syn_and_copy_are_read_once_and_in_order(kernel: Kernel) -> None:
    """However often the connection is asked about."""
    engine, box = Engine(), Recall()
    for _ in range(2):
        box.catch_up(engine, asked(), NOTED | COPIED | ORIGINAL, Side.INSIDE, 9)
    assert (engine.read, box.lost) == ([SYN_READ, COPY_READ], 0)


def test_copy_of_an_older_connection_is_not_read(kernel: Kernel) -> None:
    """The mark says that nothing was copied; where it says nothing, the sequence number does."""
    kernel.copy = Copy(segment(IS_SEQ + (1 << 24), b"older"), 5)
    for mark in (NOTED | ORIGINAL, 0):
        engine, box = Engine(), Recall()
        box.catch_up(engine, asked(), mark, Side.INSIDE, 9)
        assert (engine.read, box.lost) == ([(IS_SEQ, b"", 9)], 0)


@pytest.mark.parametrize("gone", ["entry", "label", "copy"])
def test_what_is_gone_is_counted_and_nothing_is_made_up(gone: str, kernel: Kernel) -> None:
    """Half of what was said would be taken for something that it is not."""
    if gone == "copy":
        kernel.copy = None
    else:
        kernel.entry = None if gone == "entry" else Entry(0, b"")
    engine, box = Engine(), Recall()
    box.catch_up(engine, asked(), NOTED | COPIED | ORIGINAL, Side.INSIDE, 9)
    assert (engine.read, box.lost) == ([], 1)


def test_entry_that_is_noted_still_is_of_a_newer_connection(kernel: Kernel) -> None:
    """The packet's own was asked about, so it is marked no longer."""
    kernel.entry = Entry(NOTED, HEADER)
    engine, box = Engine(), Recall()
    box.catch_up(engine, asked(), NOTED | COPIED | ORIGINAL, Side.INSIDE, 9)
    assert (engine.read, box.lost) == ([], 0)


def test_packet_that_conntrack_knows_and_has_not_noted_calls_nothing_back(kernel: Kernel) -> None:
    """Only what is invalid there is looked for by its ends."""
    for mark, read in ((ORIGINAL, []), (REPLY, []), (0, [SYN_READ, COPY_READ])):
        engine = Engine()
        Recall().catch_up(engine, asked(), mark, Side.INSIDE, 9)
        assert engine.read == read


def test_connection_that_is_let_go_is_read_no_further(kernel: Kernel) -> None:
    """What comes behind would be a stranger's."""
    engine = Engine()
    engine.says = Decision(offload=Offload.PASS)
    said, _ = Recall().catch_up(engine, asked(), NOTED | COPIED | ORIGINAL, Side.INSIDE, 9)
    assert said.lets_go
    assert engine.read == [SYN_READ]
