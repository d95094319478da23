"""The copies of gfw-2010 with which a scenario shows windows that are certain, and some that a run does not reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from middlebox.load import PROFILES

COPIES = Path(__file__).parents[2] / "scenarios" / "gfw-2010"


@pytest.mark.parametrize("start", [1980, 3293, 5041])
def test_gfw_2010_copy_differs_in_where_it_counts_from_and_in_ipv4(start: int) -> None:
    """What a copy shows on the wire is the shipped profile's, but for name and title, `ip`, and the first number."""
    expected = (PROFILES / "gfw-2010.yaml").read_text(encoding="utf-8").partition("profile:")[2]
    for shipped, copied, times in (
        (" gfw-2010\n", f" gfw-2010-from-{start}\n", 1),
        ("Firewall of 2010\n", f"Firewall of 2010, IPv4 only, its counters from {start}\n", 1),
        ("when: {value: http.", "when: {value: ip and http.", 4),
        ("start: {value: 1980,", f"start: {{value: {start},", 2),
    ):
        assert expected.count(shipped) == times
        expected = expected.replace(shipped, copied)
    copy = (COPIES / f"from-{start}.yaml").read_text(encoding="utf-8")
    assert copy.partition("profile:")[2] == expected
