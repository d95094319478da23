"""How often the boxes of gfw-2021 fire, over as many tries as FOCI21 made, and at which dice exactly."""

from __future__ import annotations

from collections import Counter
from math import sqrt
from random import Random

import pytest

from middlebox.engine import Engine
from middlebox.load import load_deployment
from tests.unit.loaded_dice import Always
from tests.unit.talk import Talk, forged
from tests.unit.tls_bytes import client_hello, record

TRIES = 2000
DEVIATIONS = 3
"""The dice are the same in every run: a share that they do not show now they never show."""
HELLO = record(22, client_hello("blocked.example"))
CHANGE_CIPHER_SPEC = record(20, b"\x01")


def engine(dice: Random) -> Engine:
    return Engine(load_deployment("gfw-2021"), dice, 0)


def who_fires(box: Engine, number: int) -> str:
    one = Talk(box, client=bytes([10, 0, number >> 8, number & 0xFF]), server_port=443)
    one.client_sends(flags="S")
    one.server_sends(flags="SA")
    primary = forged(one.client_sends(HELLO))
    backup = forged(one.client_sends(CHANGE_CIPHER_SPEC))
    return {(6, 0): "primary", (0, 1): "backup", (0, 0): "neither"}[len(primary), len(backup)]


def is_likely(count: int, of: int, share: float) -> bool:
    return abs(count - share * of) < DEVIATIONS * sqrt(share * (1 - share) * of)


def test_gfw_2021_boxes_fire_as_often_as_in_2000_tries() -> None:
    """88.2 % by the primary, 87.0 % of the rest by the backup, and about 1.8 % by neither (FOCI21 section 5)."""
    box = engine(Random(1))
    who = Counter(who_fires(box, number) for number in range(TRIES))
    assert is_likely(who["primary"], TRIES, 0.882)
    assert is_likely(who["backup"], TRIES - who["primary"], 0.870)
    assert is_likely(who["neither"], TRIES, 0.018)
    assert who["neither"] >= 1


@pytest.mark.parametrize(
    ("die", "expected"),
    [(0.8819, "primary"), (0.8821, "neither"), (0.99, "neither")],
)
def test_gfw_2021_primary_fires_below_its_share(die: float, expected: str) -> None:
    """88.2 %, to the last digit; what it leaves out the backup leaves out too, by the same die."""
    assert who_fires(engine(Always(die)), 0) == expected


@pytest.mark.parametrize(("die", "expected"), [(0.8699, "backup"), (0.8701, "neither")])
def test_gfw_2021_backup_fires_below_its_share(die: float, expected: str) -> None:
    """87.0 %, to the last digit, where the primary has failed."""
    assert who_fires(engine(Always(0.99, die)), 0) == expected
