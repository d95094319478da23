"""How often, how late and for how many at a time the Great Firewall falls silent: a run is too short to count that."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from middlebox.decision import Decision, Verdict
from middlebox.engine import Engine
from middlebox.flow import Side
from middlebox.forge import Forger
from middlebox.load import load_deployment, load_profile
from middlebox.packet import ip_header
from middlebox.profile import Deployment, Phase
from tests.property.wu23_algorithm_1 import exemptions
from tests.unit.quic_bytes import crypto, initial
from tests.unit.talk import SECOND_NS, SERVER, Talk, kinds
from tests.unit.tls_bytes import client_hello

SCENARIOS = Path(__file__).parents[2] / "scenarios"
TRIES = 4000
DEVIATIONS = 4
"""Of a share that so many tries show (chosen: by chance, once in 16,000 times)."""

ENCRYPTED = Random(0).randbytes(300)
NAME_IN_QUIC = initial(crypto(0, client_hello("blocked.example")).ljust(1162, b"\0"))

DRAWS = 20_000
QUIC_LAG_MS = {0.05: 79.5, 0.25: 99.5, 0.50: 109.7, 0.75: 139.6, 0.95: 588.7}
QUIC_LEAST_LAG_MS, QUIC_MOST_LAG_MS = 58.6, 7519
PORTS, FREE_SOON, WITHIN_S, FULL_S = 500, 2 / 5, 10, 180
"""Wu23, figure 2."""


def client(number: int) -> bytes:
    return bytes([10, 0, number >> 8, number & 0xFF])


def datagram(source: bytes, payload: bytes) -> bytes:
    """From a high port to 443."""
    body = b"".join(n.to_bytes(2, "big") for n in (40000, 443, 8 + len(payload), 0)) + payload
    return ip_header(source, SERVER, 17, len(body), ttl=60, ip_id=0, dont_fragment=True, tos=0) + body


def looks_encrypted(engine: Engine, number: int) -> Decision:
    return Talk(engine, client=client(number), server_port=7000).connect().client_sends(ENCRYPTED)


def names_a_host(engine: Engine, number: int) -> Decision:
    return engine.handle(datagram(client(number), NAME_IN_QUIC), 0, Side.INSIDE)


@pytest.mark.parametrize(
    ("profile", "say", "share"),
    [
        ("gfw-fet", looks_encrypted, 0.263),
        ("gfw-quic", names_a_host, 0.985),
        (SCENARIOS / "gfw-quic-hours" / "night.yaml", names_a_host, 0.751),
        (SCENARIOS / "gfw-quic-hours" / "day.yaml", names_a_host, 0.049),
    ],
)
def test_so_many_of_what_is_recognised_is_cut_off(
    profile: str | Path, say: Callable[[Engine, int], Decision], share: float
) -> None:
    """26.3 per cent (Wu23 section 6); 98.5 without load, 75.1 by night and 4.9 by day (QUIC25)."""
    engine = Engine(load_deployment(profile), Random(1), 0)
    assert exemptions(ENCRYPTED) == set()
    found = [kinds(say(engine, number)) for number in range(TRIES)]
    assert all("rule_matched" in events for events in found)
    seen = sum("residual_started" in events for events in found) / TRIES
    assert abs(seen - share) < DEVIATIONS * (share * (1 - share) / TRIES) ** 0.5


def test_gfw_quic_acts_as_late_as_published() -> None:
    """The measured share of draws lies below each quantile (catalogue 2.3, 742 connections), none outside the range."""
    [rule] = load_profile("gfw-quic").rules
    assert rule.residual is not None
    forger = Forger(Random(7))
    drawn = sorted(forger.delay_ns(rule.residual.after) / 1e6 for _ in range(DRAWS))
    assert drawn[0] >= QUIC_LEAST_LAG_MS
    assert drawn[-1] <= QUIC_MOST_LAG_MS
    for share, quantile_ms in QUIC_LAG_MS.items():
        assert bisect(drawn, quantile_ms) / DRAWS == pytest.approx(share, abs=0.015)


def test_gfw_fet_has_room_for_three_in_five_of_500() -> None:
    """500 ports set off together: two in five are free again within 10 s, the others for the full time not (Wu23)."""
    profile = load_profile("gfw-fet")
    [rule] = profile.rules
    always = replace(profile, rules=(replace(rule, probability=1.0),))
    engine = Engine(Deployment("all", (Phase(0, always),)), Random(1), 0)
    talks = [Talk(engine, server_port=1024 + number) for number in range(PORTS)]
    for number, talk in enumerate(talks):
        talk.now_ns = number * WITHIN_S * SECOND_NS // PORTS
        talk.connect().client_sends(ENCRYPTED)

    def silenced(at_s: float) -> int:
        found = 0
        for talk in talks:
            other = Talk(engine, port=50000, server_port=talk.server_port)
            other.now_ns = int(at_s * SECOND_NS)
            found += other.client_sends(flags="S").verdict is Verdict.DROP
        return found

    assert silenced(WITHIN_S) == PORTS * (1 - FREE_SOON)
    assert silenced(FULL_S - 1) == PORTS * (1 - FREE_SOON)
    assert silenced(WITHIN_S + FULL_S + 1) == 0
