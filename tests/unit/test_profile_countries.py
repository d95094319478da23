"""What the profiles of countries and operators say of how they read TCP: all of it, each with where it comes from."""

from __future__ import annotations

import pytest

from middlebox.load import load_profile

READING = {
    "state", "handshake", "reassembly", "overlap", "join_tls_records", "check_checksum", "check_ack",
    "check_data_offset", "end_on_rst", "end_on_fin", "idle",
}  # fmt: skip
"""The keys of `tcp:` that decide which evasions work."""


@pytest.mark.parametrize(
    "name",
    [
        "airtel", "iran-filter", "iran-null", "kazakhstan-null", "sandvine", "south-korea", "tspu-rst", "tspu-throttle",
        "turkmenistan",
    ],
)  # fmt: skip
def test_profile_says_where_each_knob_of_its_tcp_comes_from(name: str) -> None:
    """What a file leaves out would be the engine's default, and nobody's word."""
    said = {path.split(".")[1] for path in load_profile(name).provenance if path.startswith("tcp.")}
    assert said >= READING
