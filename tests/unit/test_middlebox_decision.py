"""The answer to one packet."""

from __future__ import annotations

from middlebox.decision import PASS, Decision, Offload, Verdict
from middlebox.flow import Direction


def test_pass_is_the_answer_that_changes_nothing() -> None:
    """Nearly every packet gets it, so there is one for all."""
    assert Decision() == PASS
    assert (PASS.verdict, PASS.offload, PASS.forged, PASS.events) == (Verdict.ACCEPT, Offload.NONE, (), ())
    assert (PASS.replacement, PASS.hold_until_ns) == (None, 0)


def test_offload_bits_follow_the_direction() -> None:
    """The kernel's marks are made of them: passing in bits 0 and 1, dropping in bits 2 and 3."""
    names = {Direction.CLIENT_TO_SERVER: "CLIENT_TO_SERVER", Direction.SERVER_TO_CLIENT: "SERVER_TO_CLIENT"}
    for direction, name in names.items():
        assert Offload[f"PASS_{name}"] == 1 << direction
        assert Offload[f"DROP_{name}"] == 4 << direction
    assert Offload.PASS | Offload.DROP == 0xF
