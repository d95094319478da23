"""How often airtel answers, which no scenario counts closely, and its slower copy, which must not drift."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from random import Random

import pytest

from middlebox.engine import Engine
from middlebox.load import load_deployment, load_profile
from tests.unit.talk import Talk, kinds
from tests.unit.tls_bytes import client_hello, record

ROOT = Path(__file__).parents[2]
TRIES = 4000
DEVIATIONS = 6
"""Of a share that so many tries show (chosen: by chance, once in a billion times)."""
SHARE = 0.963
NAMES = {
    "sni": record(22, client_hello("blocked.example")),
    "host": b"GET / HTTP/1.1\r\nHost: blocked.example\r\n\r\n",
}


@pytest.mark.parametrize("said", sorted(NAMES))
def test_airtel_answers_as_many_names_as_published(said: str) -> None:
    """96.3 per cent of names in TLS (GEN-india), and here as many of those in HTTP."""
    engine = Engine(load_deployment("airtel"), Random(1), 0)
    answered = 0
    for number in range(TRIES):
        decision = Talk(engine, port=10_000 + number, server_port=443).client_sends(NAMES[said])
        answered += "packet_forged" in kinds(decision)
    assert abs(answered / TRIES - SHARE) < DEVIATIONS * sqrt(SHARE * (1 - SHARE) / TRIES)


def test_airtel_late_is_airtel_but_for_its_delay() -> None:
    """The control shows what half a second of delay does, and nothing else."""
    late, shipped = load_profile(ROOT / "scenarios/airtel/late.yaml"), load_profile("airtel")
    assert (late.placement, late.tcp, late.ports) == (shipped.placement, shipped.tcp, shipped.ports)
    said, meant = (
        [(r.name, r.when.text, r.direction, r.probability) for r in p.rules] for p in (late, shipped)
    )
    assert said == meant
    done, original = (repr([(r.do, r.residual) for r in p.rules]) for p in (late, shipped))
    assert done.count("delay=500000000") == original.count("delay=0") > 0
    assert done.replace("delay=500000000", "delay=0") == original
