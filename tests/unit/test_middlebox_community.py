"""Community ID: as the package of its authors computes it."""

from __future__ import annotations

from ipaddress import ip_address

import communityid
import pytest
from hypothesis import given, strategies as st

from middlebox.community import community_id

ENDS = st.tuples(st.ip_addresses(v=4), st.ip_addresses(v=4)) | st.tuples(
    st.ip_addresses(v=6), st.ip_addresses(v=6)
)
PORTS = st.integers(0, 65535)
MAKERS = {6: communityid.FlowTuple.make_tcp, 17: communityid.FlowTuple.make_udp}


@given(ends=ENDS, sport=PORTS, dport=PORTS, protocol=st.sampled_from([6, 17]))
def test_community_id_equals_the_reference(ends, sport: int, dport: int, protocol: int) -> None:  # type: ignore[no-untyped-def]
    """Any two addresses of a version, any ports."""
    src, dst = (end.packed for end in ends)
    expected = communityid.CommunityID().calc(MAKERS[protocol](src, dst, sport, dport))
    assert community_id(src, sport, dst, dport, protocol) == expected


@given(ends=ENDS, sport=PORTS, dport=PORTS)
def test_community_id_is_the_same_in_both_directions(ends, sport: int, dport: int) -> None:  # type: ignore[no-untyped-def]
    """A flow has one name, whichever of its packets is looked at."""
    src, dst = (end.packed for end in ends)
    assert community_id(src, sport, dst, dport, 6) == community_id(dst, dport, src, sport, 6)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [
        (("128.232.110.120", 34855, "66.35.250.204", 80), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
        (("66.35.250.204", 80, "128.232.110.120", 34855), "1:LQU9qZlK+B5F3KDmev6m5PMibrg="),
    ],
)
def test_community_id_of_the_specifications_example(ends: tuple[str, int, str, int], expected: str) -> None:
    """The TCP flow of the specification's own baseline."""
    src, sport, dst, dport = ends
    assert community_id(ip_address(src).packed, sport, ip_address(dst).packed, dport, 6) == expected
