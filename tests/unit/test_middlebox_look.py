"""What a forged packet looks like when nobody says more."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from middlebox import packet as wire
from middlebox.look import AckFrom, Constant, Look, SeqFrom
from tests.unit.test_middlebox_forge import forge


def test_plain_look_is_one_bare_rst_that_its_receiver_takes() -> None:
    """One segment, exact number, nothing else set."""
    (rst,) = forge(Look())
    assert (rst.flags, rst.window, rst.ttl, rst.ip_id, rst.dont_fragment) == (wire.RST, 0, 64, 0, False)
    assert (rst.tcp_options, rst.payload, rst.ack) == (b"", b"", 0)


def test_look_words_are_those_of_profiles() -> None:
    """`seq: expected`, `ack: zero` in a file mean these."""
    assert {"expected", "copied", "trigger-ack"} <= {s.value for s in SeqFrom}
    assert {"expected", "copied", "zero"} <= {a.value for a in AckFrom}


def test_looks_cannot_be_changed() -> None:
    """Counters live in the forger."""
    with pytest.raises(FrozenInstanceError):
        Look().window = Constant(1)  # type: ignore[misc]
