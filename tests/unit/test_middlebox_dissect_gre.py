"""GRE headers of both versions."""

from __future__ import annotations

import pytest

from middlebox.dissect.gre import GreDissector
from tests.unit.dissect_talk import DEAD, C, S, feed


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            "3081880b000400070000000100000001",
            {"gre.proto": [0x880B], "gre.key.payload_length": [4], "gre.key.call_id": [7]},
        ),
        ("200008000000002a", {"gre.proto": [0x0800], "gre.key": [42]}),
        ("a0000800123400000000002a", {"gre.proto": [0x0800], "gre.key": [42]}),
        ("00000800", {"gre.proto": [0x0800]}),
        ("200008000000", {"gre.proto": [0x0800]}),
    ],
)
def test_header_is_read_in_both_versions(data: str, expected: dict[str, list[int]]) -> None:
    """The key stands behind the checksum if there is one; in PPTP's version it is a length and a call ID."""
    raw = bytes.fromhex(data)
    fields = feed(GreDissector(None), C, raw)
    assert fields == {"gre": [True], "gre.flags_and_version": [int.from_bytes(raw[:2], "big")], **expected}


def test_header_that_is_cut_off_has_no_fields() -> None:
    """Three bytes are no GRE header, and say nothing about the next packet."""
    dissector = GreDissector(frozenset({"gre.proto"}))
    assert not feed(dissector, S, b"\x30\x81\x88")
    assert feed(dissector, S, b"\x30\x81\x88\x0b") == {"gre.proto": [0x880B]}
    assert dissector.alive != DEAD
