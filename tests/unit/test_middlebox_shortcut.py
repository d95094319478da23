"""The shortcut as text for nft: one table of its own, both ways, both IP versions."""

from __future__ import annotations

from ipaddress import ip_address

from middlebox.kernel import Wiring
from middlebox.shortcut import Elephant, NextHops, elephants_text, remove_text, table_text

WIRING = Wiring("inside", "outside")
BOTH = {4: NextHops("192.0.2.1", "203.0.113.1"), 6: NextHops("2001:db8:1::1", "")}


def test_each_side_sends_to_the_router_of_the_other() -> None:
    """A packet that comes from inside leaves by the outside interface, to the next hop there."""
    text = table_text(WIRING, BOTH)
    (inward,) = [line for line in text.splitlines() if 'fwd ip to 192.0.2.1 device "inside"' in line]
    (outward,) = [line for line in text.splitlines() if 'fwd ip to 203.0.113.1 device "outside"' in line]
    assert inward.startswith("add rule netdev tamperlab to_inside ")
    assert outward.startswith("add rule netdev tamperlab to_outside ")
    assert 'to_outside { type filter hook ingress device "inside"' in text
    assert 'to_inside { type filter hook ingress device "outside"' in text


def test_target_on_the_link_itself_is_its_own_next_hop() -> None:
    """Where no router stands between."""
    assert 'fwd ip6 to ip6 daddr device "outside"' in table_text(WIRING, BOTH)


def test_only_ip_versions_whose_next_hops_are_known_are_in_the_table() -> None:
    """The other version goes on as before."""
    text = table_text(WIRING, {4: BOTH[4]})
    assert "elephants4" in text
    assert "elephants6" not in text


def test_ends_and_beginnings_of_connections_take_no_shortcut() -> None:
    """Whoever watches over connections must see how they begin and end."""
    going = [line for line in table_text(WIRING, BOTH).splitlines() if " fwd " in line]
    assert len(going) == 4
    assert all("tcp flags & (fin | syn | rst) == 0" in line for line in going)


def test_elephant_goes_both_ways() -> None:
    """Its addresses and ports in both orders, as they stand in its packets."""
    ends = (ip_address("192.0.2.10").packed, 40000, ip_address("203.0.113.25").packed, 443)
    assert elephants_text([Elephant(*ends)]) == (
        "add element netdev tamperlab elephants4 "
        "{ 192.0.2.10 . 40000 . 203.0.113.25 . 443, 203.0.113.25 . 443 . 192.0.2.10 . 40000 }\n"
    )


def test_removal_names_one_table() -> None:
    """Nothing of anybody else's, and no failure where it is not there."""
    assert remove_text() == "add table netdev tamperlab\ndelete table netdev tamperlab\n"
