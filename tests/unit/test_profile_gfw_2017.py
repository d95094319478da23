"""How often gfw-2017 loses count at a RST instead of forgetting the connection, which no scenario counts."""

from __future__ import annotations

from math import sqrt
from random import Random

import pytest

from middlebox.engine import Engine
from middlebox.load import load_deployment
from tests.unit.talk import Talk, kinds

TRIES = 2000
DEVIATIONS = 6
"""Of a share that so many tries show (chosen: by chance, once in a billion times)."""


@pytest.mark.parametrize(("sender", "after", "share"), [("client", "handshake", 0.2), ("server", "syn", 0.5)])
def test_gfw_2017_sees_a_request_behind_a_rst_as_often_as_published(
    sender: str, after: str, share: float
) -> None:
    """One RST in five (Wang17 section 4), and every other one with which a server answers the SYN (Bock20 5.1)."""
    engine = Engine(load_deployment("gfw-2017"), Random(1), 0)
    seen = 0
    for number in range(TRIES):  # each from a host of its own, as the box punishes hosts
        one = Talk(engine, client=bytes([10, 0, number >> 8, number & 0xFF]), server_port=80)
        one.client_sends(flags="S")
        if after == "handshake":
            one.server_sends(flags="SA")
        (one.server_sends if sender == "server" else one.client_sends)(flags="RA")
        decision = one.client_sends(b"GET /?q=ultrasurf HTTP/1.1\r\n\r\n")
        seen += "rule_matched" in kinds(decision)
    assert abs(seen / TRIES - share) < DEVIATIONS * sqrt(share * (1 - share) / TRIES)
