"""The typed tree knows what it reads."""

from __future__ import annotations

import pytest

from middlebox.filters import BUILT_IN
from middlebox.filters.check import Checker
from middlebox.filters.parser import parse
from middlebox.filters.typed import fields_of


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tcp", ["tcp"]),
        ("tcp.port == 80", ["tcp.port"]),
        ("tcp.srcport == tcp.dstport + 1", ["tcp.srcport", "tcp.dstport"]),
        ("tcp.port in {1} and not ip.ttl == 1", ["tcp.port", "ip.ttl"]),
        ('tcp.payload[0:2] contains "a" or len(udp.payload) > 1', ["tcp.payload", "udp.payload"]),
        ('tcp.payload matches "a"', ["tcp.payload"]),
    ],
)
def test_fields_of_a_filter_are_those_it_names(text: str, names: list[str]) -> None:
    """In the order written; needs and partial evaluation build on it."""
    assert [field.name for field in fields_of(Checker(BUILT_IN).test(parse(text)))] == names
