"""Marks that do not get in each other's way, and knobs of the network namespace."""

from __future__ import annotations

import pytest

from middlebox import kernel
from middlebox.filters import compile_filter
from middlebox.kernel import sysctls
from middlebox.profile import Deployment, Log, Phase, Placement, Profile, Rule, TcpReading
from middlebox.wants import plan_for


@pytest.mark.parametrize("checks", [True, False])
def test_conntrack_checks_checksums_if_the_box_does(checks: bool) -> None:
    """A packet that the box ignores must not decide anything in the kernel, and one that it reads must."""
    rule = Rule("rule", compile_filter("tls"), (Log(),))
    profile = Profile("test", "Test", Placement.IN_PATH, (rule,), tcp=TcpReading(checks_checksum=checks))
    knobs = sysctls(plan_for(Deployment("test", (Phase(0, profile),))))
    assert knobs["net/netfilter/nf_conntrack_checksum"] == str(int(checks))


def test_no_rule_sets_no_knob() -> None:
    """A box that looks at nothing leaves the namespace as it is."""
    assert sysctls(plan_for(Deployment("none", ()))) == {}


def test_marks_do_not_overlap() -> None:
    """Each bit of the two marks means one thing."""
    packet_bits = (
        kernel.OFFLOAD_MASK,
        kernel.GENERATION_MASK,
        kernel.ORIGINAL,
        kernel.REPLY,
        kernel.FIRST,
        kernel.ANSWERED,
        kernel.DROPPED,
        kernel.REDIRECTED,
        kernel.ELEPHANT,
    )
    connection_bits = (kernel.OFFLOAD_MASK, kernel.GENERATION_MASK, kernel.SEEN, kernel.LED)
    for bits in (packet_bits, connection_bits):
        assert sum(bits) == sum(bits) & 0xFFFFFFFF
        assert sum(bit.bit_count() for bit in bits) == sum(bits).bit_count()
