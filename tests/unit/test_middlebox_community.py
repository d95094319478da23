"""Community ID: what the reference implementation says."""

from __future__ import annotations

from ipaddress import ip_address

import communityid
import pytest
from hypothesis import given, strategies as st

from middlebox.community import community_id

ADDRESSES = st.one_of(
    st.tuples(st.binary(min_size=4, max_size=4), st.binary(min_size=4, max_size=4)),
    st.tuples(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16)),
)
PORT = st.integers(1, 65535)


@pytest.mark.parametrize("protocol", [6, 17])
@given(addresses=ADDRESSES, sport=PORT, dport=PORT, seed=st.integers(0, 65535))
def test_community_id_is_that_of_the_reference(
    protocol: int, addresses: tuple[bytes, bytes], sport: int, dport: int, seed: int
) -> None:
    """TCP and UDP over IPv4 and IPv6, any seed."""
    src, dst = addresses
    reference = communityid.CommunityID(seed=seed)
    make = communityid.FlowTuple.make_tcp if protocol == 6 else communityid.FlowTuple.make_udp
    expected = reference.calc(make(str(ip_address(src)), str(ip_address(dst)), sport, dport))
    assert community_id(src, sport, dst, dport, protocol, seed=seed) == expected


@given(addresses=ADDRESSES, sport=PORT, dport=PORT)
def test_community_id_is_the_same_for_both_directions(
    addresses: tuple[bytes, bytes], sport: int, dport: int
) -> None:
    """One name for a flow, whoever speaks."""
    src, dst = addresses
    assert community_id(src, sport, dst, dport, 6) == community_id(dst, dport, src, sport, 6)


def test_community_id_of_a_protocol_without_ports_is_that_of_the_reference() -> None:
    """GRE and its like are named by their addresses."""
    flow = communityid.FlowTuple.make_ip("192.0.2.11", "203.0.113.25", 47)
    expected = communityid.CommunityID().calc(flow)
    assert community_id(bytes([192, 0, 2, 11]), 0, bytes([203, 0, 113, 25]), 0, 47) == expected
