"""How often gfw-2017 overlooks a request, and how often a RST only makes it lose count: over many tries and exactly."""

from __future__ import annotations

from math import sqrt
from random import Random

import pytest

from middlebox.engine import Engine
from middlebox.load import load_deployment
from tests.unit.loaded_dice import Always
from tests.unit.talk import Talk, forged, kinds

TRIES = 2000
DEVIATIONS = 6
"""Of a share that so many tries show (chosen: by chance, once in a billion times)."""


REQUEST = b"GET /?q=ultrasurf HTTP/1.1\r\n\r\n"


def box(dice: Random) -> Engine:
    return Engine(load_deployment("gfw-2017"), dice, 0)


def behind_rst(engine: Engine, number: int, sender: str) -> bool:
    """Whether a request is noticed behind a RST: of the client's, or with which the server answers the SYN."""
    one = Talk(engine, client=bytes([10, 0, number >> 8, number & 0xFF]), server_port=80)
    one.client_sends(flags="S")
    if sender == "client":
        one.server_sends(flags="SA")
    (one.server_sends if sender == "server" else one.client_sends)(flags="RA")
    return "rule_matched" in kinds(one.client_sends(REQUEST))


def is_answered(engine: Engine, number: int) -> bool:
    """Whether a request is answered by both injectors, to both ends; else there is no answer at all."""
    one = Talk(engine, client=bytes([10, 0, number >> 8, number & 0xFF]), server_port=80).connect()
    return {8: True, 0: False}[len(forged(one.client_sends(REQUEST)))]


@pytest.mark.parametrize(("sender", "share"), [("client", 0.2), ("server", 0.5)])
def test_gfw_2017_sees_a_request_behind_a_rst_as_often_as_published(sender: str, share: float) -> None:
    """One RST in five (Wang17 section 4), and every other one with which a server answers the SYN (Bock20 5.1)."""
    engine = box(Random(1))
    seen = sum(behind_rst(engine, number, sender) for number in range(TRIES))
    assert abs(seen / TRIES - share) < DEVIATIONS * sqrt(share * (1 - share) / TRIES)


@pytest.mark.parametrize(("sender", "share"), [("client", 0.2), ("server", 0.5)])
def test_gfw_2017_loses_count_at_dice_below_the_share(sender: str, share: float) -> None:
    """One in five and one in two, to the last digit."""
    assert behind_rst(box(Always(share - 1e-4)), 0, sender)
    assert not behind_rst(box(Always(share + 1e-4)), 0, sender)


def test_gfw_2017_overlooks_as_many_as_published() -> None:
    """2.8 % of the requests (Wang17 section 3.4), both injectors the same ones."""
    engine = box(Random(1))
    overlooked = sum(not is_answered(engine, number) for number in range(TRIES))
    assert abs(overlooked / TRIES - 0.028) < 3 * sqrt(0.028 * 0.972 / TRIES)


def test_gfw_2017_answers_at_dice_below_its_share() -> None:
    """97.2 %, to the last digit."""
    assert is_answered(box(Always(0.9719)), 0)
    assert not is_answered(box(Always(0.9721)), 0)
