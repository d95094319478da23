"""Types 2 and 2a at windows that a run does not reach: the rest of the catalogue's vectors (section 13)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from middlebox.load import load_profile
from middlebox.look import Constant
from middlebox.profile import Reset
from tests.unit.test_middlebox_forge import TO_CLIENT, forge, occasion


@pytest.mark.parametrize(
    ("rule", "window", "ip_id", "ttl"),
    [
        ("type-2", 3293, 22726, 77),
        ("type-2", 5041, 2, 97),
        ("type-2", 5042, 65525, 98),
        ("type-2a", 1980, 37405, 108),
        ("type-2a", 5042, 57651, 98),
    ],
)
def test_gfw_2010_window_gives_ip_id_and_ttl(rule: str, window: int, ip_id: int, ttl: int) -> None:
    """The IP ID overflows between windows 5041 and 5042, as was observed in 2010 (GFWREV)."""
    [found] = [r for r in load_profile("gfw-2010").rules if r.name == rule]
    [reset] = [action for action in found.do if isinstance(action, Reset)]
    packets = forge(replace(reset.look, window=Constant(window)), occasion(), TO_CLIENT)
    assert {(p.window, p.ip_id, p.ttl) for p in packets} == {(window, ip_id, ttl)}
