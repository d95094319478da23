"""The changes that `make test-values` makes to profiles."""

from __future__ import annotations

import pytest

from middlebox.load import load_profile
from middlebox.profile import CHOSEN
from scripts.mutate_profiles import filters, mutants, values, witnesses


def test_filter_loses_each_clause_and_each_number_grows() -> None:
    """What stands in brackets or behind an `or` is one clause; numbers in quotes are words."""
    assert list(filters('tcp.dstport == 25 and (ip.ttl > 3 or not tcp) and frame contains "7 and 8"')) == [
        '(ip.ttl > 3 or not tcp) and frame contains "7 and 8"',
        'tcp.dstport == 25 and frame contains "7 and 8"',
        "tcp.dstport == 25 and (ip.ttl > 3 or not tcp)",
        'tcp.dstport == 26 and (ip.ttl > 3 or not tcp) and frame contains "7 and 8"',
        'tcp.dstport == 25 and (ip.ttl > 4 or not tcp) and frame contains "7 and 8"',
    ]
    assert list(filters("tcp or udp and icmp")) == []


@pytest.mark.parametrize(
    ("value", "changed"),
    [
        (True, [False]),
        (64, [65]),
        (0.882, [0.441]),
        ("180s", ["225s"]),
        ("RA", ["R"]),
        ("(-1 - 13 * window) & 0xffff", ["(-2 - 13 * window) & 0xffff", "(-1 - 14 * window) & 0xffff"]),
        ("01:02", ["02:02", "01:03"]),
    ],
)
def test_value_becomes_another_of_its_kind(value: object, changed: list[object]) -> None:
    """Whatever a profile can say has another value that it could say as well."""
    assert list(values(value))[:2] == changed


@pytest.mark.parametrize("name", ["sandvine", "henan", "watch-keyword"])
def test_profile_with_sources_has_changes_and_tests_that_may_notice_them(name: str) -> None:
    """Each change is one to a value with a source, and gives a profile that loads and is another one."""
    sourced = {
        path for path, key in load_profile(name).provenance.items() if key != CHOSEN and path != "placement"
    }
    found = list(mutants(name))
    assert bool(found) == bool(sourced)
    assert {mutant.path for mutant in found} <= sourced
    assert not found or len(witnesses(name)) >= 1
