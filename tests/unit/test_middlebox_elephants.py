"""Who is let in, once and for a time, and when the shortcut opens and closes."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from middlebox import elephants
from middlebox.elephants import Elephants
from middlebox.kernel import Wiring
from middlebox.shortcut import SECONDS, Elephant, close_text, elephants_text

NOW = 10**18
ONE = Elephant(ip_address("192.0.2.10").packed, 40000, ip_address("203.0.113.25").packed, 443)
OTHER = Elephant(ip_address("192.0.2.10").packed, 40001, ip_address("203.0.113.26").packed, 443)


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch) -> dict[str, str | None]:
    """Target -> next hop, as the kernel would say; any other is on the link."""
    told: dict[str, str | None] = {}
    monkeypatch.setattr(elephants, "_look_up", lambda *words: told.get(str(ip_address(words[-1])), ""))
    monkeypatch.setattr(elephants, "_mtu", lambda _interface: 1500)
    return told


@pytest.fixture
def herd(routes: dict[str, str | None]) -> Elephants:
    return Elephants(Wiring("inside", "outside"))


def test_first_elephant_opens_the_shortcut_and_the_next_goes_through(herd: Elephants) -> None:
    """The table is made once."""
    assert herd.add(ONE, NOW)
    first = herd.take()
    assert "add table netdev tamperlab" in first
    assert first.endswith(elephants_text([ONE]))
    assert herd.add(OTHER, NOW)
    assert herd.take() == elephants_text([OTHER])
    assert herd.take() == ""
    assert herd.count == 2


def test_elephant_that_is_in_is_not_let_in_again_before_its_time_is_over(herd: Elephants) -> None:
    """One packet in many is reported, and many are under way."""
    assert herd.add(ONE, NOW)
    herd.take()
    assert not herd.add(ONE, NOW + SECONDS * 10**9 - 1)
    assert herd.add(ONE, NOW + SECONDS * 10**9)


def test_other_rules_close_it_at_once(herd: Elephants) -> None:
    """And who waited to be let in is forgotten."""
    herd.add(ONE, NOW)
    herd.take()
    herd.add(OTHER, NOW)
    assert herd.disperse() == close_text([4])
    assert herd.take() == ""
    assert herd.add(ONE, NOW)


@pytest.mark.parametrize("next_hop", [None, "203.0.113.9"])
def test_who_is_routed_otherwise_than_the_others_is_not_let_in(
    herd: Elephants, routes: dict[str, str | None], next_hop: str | None
) -> None:
    """The table has one next hop for each side."""
    herd.add(ONE, NOW)
    herd.take()
    routes["203.0.113.26"] = next_hop
    assert not herd.add(OTHER, NOW)


def test_links_of_other_sizes_let_nobody_in(herd: Elephants, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past routing nobody would say that a packet is too big."""
    monkeypatch.setattr(elephants, "_mtu", {"inside": 1500, "outside": 1400}.__getitem__)
    assert not herd.add(ONE, NOW)


def test_kernel_that_refused_once_is_not_asked_again(herd: Elephants) -> None:
    """Nothing is lost but speed."""
    herd.add(ONE, NOW)
    herd.take()
    herd.refuse()
    assert not herd.add(OTHER, NOW)
    assert herd.disperse() == ""
