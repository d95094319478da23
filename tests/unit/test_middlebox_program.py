"""What follows from a profile: which rules for whom, what has to be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from middlebox.flow import Direction
from middlebox.packet import FIN, PROTOCOL_TCP, PROTOCOL_UDP, RST
from middlebox.profile import Drop, KeyPart, Log, Residual, Rewrite, SecondSyn
from middlebox.program import Program, all_actions
from tests.unit.talk import RESET_BOTH, STARTTLS, profile, rule


def test_rules_are_split_by_the_direction_they_are_limited_to() -> None:
    """Without a limit a rule looks at both, in the order of the file."""
    both, asks = rule("tcp", name="both"), rule("tcp", name="asks", direction=Direction.CLIENT_TO_SERVER)
    assert Program(profile(asks, both)).rules == ((asks, both), (both,))


def test_program_knows_protocols_fields_and_window() -> None:
    """All rules together say what is dissected and how much of the stream is kept."""
    program = Program(profile(rule(STARTTLS), rule('tcp.payload contains "ultrasurf"')))
    assert (program.protocols, program.fields) == ({"smtp"}, {"smtp.command_line"})
    assert program.window_bytes == len("ultrasurf") - 1


def test_program_that_reads_headers_only_leaves_streams_alone() -> None:
    """Unless it follows acknowledgments or sequence numbers, or changes data."""
    headers = rule("tcp.dstport == 25")
    assert not Program(profile(headers)).reads_streams
    assert Program(profile(headers, checks_ack=True)).reads_streams
    assert Program(profile(headers, second_syn=SecondSyn.IGNORED)).reads_streams
    assert Program(profile(headers, resync_on_rst=0.5)).reads_streams
    assert Program(profile(rule("tcp.dstport == 25", (Rewrite(strip=True),)))).reads_streams


@pytest.mark.parametrize(("rst", "fin", "flags"), [(True, False, RST), (False, True, FIN), (False, False, 0)])
def test_ending_flags_follow_the_knobs(*, rst: bool, fin: bool, flags: int) -> None:
    """What makes the box forget a connection."""
    assert Program(profile(rule("tcp"), ends_on_rst=rst, ends_on_fin=fin)).ending_flags == flags


@pytest.mark.parametrize(
    ("knobs", "loses"),
    [
        ({}, False),
        ({"second_syn": SecondSyn.IGNORED}, False),
        ({"second_syn": SecondSyn.RESYNC}, True),
        ({"resync_on_rst": 0.1}, True),
        ({"resync_on_refusal": 0.1}, True),
    ],
)
def test_box_may_lose_count_by_any_of_its_knobs(knobs: dict[str, Any], *, loses: bool) -> None:
    """Then its RSTs are looked at, even if they end nothing."""
    program = Program(profile(rule("tcp"), ends_on_rst=False, **knobs))
    assert program.may_lose_count is loses
    heeds_rst = knobs.keys() & {"resync_on_rst", "resync_on_refusal"}
    assert program.ending_flags == (RST if heeds_rst else 0)


def test_dissector_goes_by_port_and_profile() -> None:
    """SMTP on its own ports, or where the profile looks for it; none where no rule reads fields."""
    program = Program(profile(rule(STARTTLS)))
    found = program.dissector(PROTOCOL_TCP, 40000, 587)
    assert found is not None
    assert found.protocol == "smtp"
    assert program.dissector(PROTOCOL_TCP, 40000, 2525) is None
    assert program.dissector(PROTOCOL_UDP, 40000, 587) is None
    elsewhere = Program(replace(profile(rule(STARTTLS)), ports={"smtp": frozenset({2525})}))
    assert elsewhere.dissector(PROTOCOL_TCP, 40000, 2525) is not None
    assert elsewhere.dissector(PROTOCOL_TCP, 40000, 587) is None
    assert Program(profile(rule("tcp"))).dissector(PROTOCOL_TCP, 40000, 587) is None


def test_rewrites_are_known_by_direction_from_residuals_too() -> None:
    """Where data may be changed, segments must not overtake one another."""
    residual = Residual((KeyPart.INSIDE_IP,), 1, False, (Rewrite(strip=True),))
    changing = rule("tcp", (Log(),), residual=residual, direction=Direction.SERVER_TO_CLIENT)
    assert Program(profile(changing, rule("tcp"))).rewrites == (False, True)
    assert all_actions(changing) == (Log(), Rewrite(strip=True))


def test_program_couples_directions_for_what_needs_both() -> None:
    """Handshakes, acknowledgments, counters."""
    assert not Program(profile(rule("tcp", RESET_BOTH))).couples_directions
    assert Program(profile(rule("tcp"), handshake=True)).couples_directions
    assert Program(profile(rule("tcp"), checks_ack=True)).couples_directions
    assert Program(profile(rule("flow.bytes > 10", (Drop(),)))).couples_directions
