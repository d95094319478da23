"""The first DNS injector's TTL over more answers than a run has."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from middlebox.engine import Engine
from middlebox.flow import Side
from middlebox.load import load_deployment
from middlebox.packet import decode, ip_header
from tests.unit.talk import CLIENT, SERVER

ANSWERS = 600
QUESTION = bytes.fromhex("123401000001000000000000") + b"\7blocked\7example\0\0\1\0\1"


def test_ttl_of_the_first_injector_goes_round_without_zero() -> None:
    """One more each time (triplet, table 3), and one that no packet on a wire can have is left out."""
    engine = Engine(load_deployment("gfw-dns"), Random(1), 0)
    body = b"".join(n.to_bytes(2, "big") for n in (40000, 53, 8 + len(QUESTION), 0)) + QUESTION
    head = ip_header(CLIENT, SERVER, 17, len(body), ttl=60, ip_id=0, dont_fragment=True, tos=0)
    ttls = []
    for _ in range(ANSWERS):
        first, *_ = engine.handle(head + body, 0, Side.INSIDE).forged
        answer = decode(first.data)
        assert answer is not None
        ttls.append(answer.ttl)
    assert all(later == (1 if earlier == 255 else earlier + 1) for earlier, later in pairwise(ttls))
    assert set(ttls) == set(range(1, 256))
