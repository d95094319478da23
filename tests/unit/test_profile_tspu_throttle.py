"""How long tspu-throttle keeps a connection slow that goes on, which no scenario can wait for."""

from __future__ import annotations

from random import Random

from middlebox.engine import Engine
from middlebox.load import load_deployment
from tests.unit.talk import SECOND_NS, Talk, kinds
from tests.unit.tls_bytes import client_hello, record

TWO_HOURS_S = 2 * 3600


def test_tspu_throttle_is_still_at_it_after_two_hours_of_traffic() -> None:
    """A packet every 500 s, and after more than two hours it is as slow as at first (Thr21)."""
    talk = Talk(Engine(load_deployment("tspu-throttle"), Random(1), 0), server_port=443).connect()
    talk.client_sends(record(22, client_hello("blocked.example")))
    for now_s in range(500, TWO_HOURS_S + 1000, 500):
        talk.now_ns = now_s * SECOND_NS
        talk.client_sends(b"x")
    dropped = ["packet_dropped" in kinds(talk.client_sends(bytes(1000))) for _ in range(20)]
    assert dropped.count(True) > 10
