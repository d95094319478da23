"""Looks: each field of a forged packet, in each form in which it may be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from middlebox.expression import parse_expression
from middlebox.look import (
    AckFrom,
    Computed,
    Constant,
    Copied,
    Counter,
    Look,
    Mirrored,
    Quantiles,
    SeqFrom,
    Uniform,
)
from middlebox.packet import ACK, RST
from middlebox.profile import Reset
from tests.unit.yaml_files import RULES, look_of, profile

SHARED = """
  - name: r
    when: tcp
    look: {window: {counter: {start: 7}}, ip_id: {counter: {start: 9}}}
    do: [{reset: {towards: both, to_client: {seq: copied}}}]
    residual: {key: [client_ip], for: 1s, do: [{reset: {look: {ip_id: {counter: {start: 9}}}}}]}
"""


@pytest.mark.parametrize(
    ("written", "field", "value"),
    [
        ("count: 3", "count", 3),
        ("flags: RA", "flags", RST | ACK),
        ("flags: ra", "flags", RST | ACK),
        ("seq: copied", "seq", SeqFrom.COPIED),
        ("seq: trigger-ack", "seq", SeqFrom.TRIGGER_ACK),
        ("seq: 0xffffffff", "seq", Constant(0xFFFFFFFF)),
        ("ack: zero", "ack", AckFrom.ZERO),
        ("ack: 1", "ack", Constant(1)),
        ("window: random", "window", Uniform(0, 65535)),
        ("window: copied", "window", Copied()),
        ("ttl: {initial: 128}", "ttl", Constant(128)),
        ("ttl: 250", "ttl", Constant(250)),
        ("ttl: mirror", "ttl", Mirrored()),
        ("ttl: random", "ttl", Uniform(1, 255)),
        ("ttl: {initial: 48 + window % 64}", "ttl", Computed(parse_expression("48 + window % 64"))),
        ("ip_id: 30_000", "ip_id", Constant(30000)),
        ("ip_id: {range: [163, 65119]}", "ip_id", Uniform(163, 65119)),
        ("ip_id: (-1 - 13 * window) & 0xffff", "ip_id", Computed(parse_expression("(-1 - 13 * window) & 0xffff"))),
        ("window: {counter: {start: 1980, per: group}}", "window", Counter(1980, 1, 65536, "group")),
        ("window: {counter: {start: 1, step: 2, modulo: 100}}", "window", Counter(1, 2, 100, "box")),
        (
            "window: {counter: {start: 1980, each: group, of: server_port % 13}}",
            "window",
            Counter(1980, 1, 65536, "box", "group", parse_expression("server_port % 13")),
        ),
        ("ack: trigger-seq", "ack", AckFrom.TRIGGER_SEQ),
        ("window: group_draw % 5 + index", "window", Computed(parse_expression("group_draw % 5 + index"))),
        ("dont_fragment: true", "dont_fragment", True),
        ("tos: 0x10", "tos", 16),
        ("options: 01:01", "options", b"\x01\x01"),
        ("options: {hex: 01}", "options", b"\x01"),
        ("payload: 01:02:03:04:05:06:07:08:09:00", "payload", bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 0])),
        ("payload: {text: '01:02'}", "payload", b"01:02"),
        ('payload: "500 error\\r\\n"', "payload", b"500 error\r\n"),
        ("identical: true", "identical", True),
        ("spacing: 20us", "spacing_ns", 20_000),
        ("delay: 1.5ms", "delay", 1_500_000),
        ("delay: 0", "delay", 0),
        (
            "delay: {quantiles: {0: 11.53ms, 50: 16.42ms, 100: 445.39ms}}",
            "delay",
            Quantiles(((0.0, 11_530_000), (0.5, 16_420_000), (1.0, 445_390_000))),
        ),
    ],
)  # fmt: skip
def test_look_field_is_read(tmp_path: Path, written: str, field: str, value: object) -> None:
    """Each form in which a field of a look may be written gives its value in the model."""
    loaded = profile(tmp_path, f"defaults: {{look: {{{written}}}}}\n{RULES}")
    assert getattr(look_of(loaded), field) == value


def test_look_layers_win_from_the_inside(tmp_path: Path) -> None:
    """defaults < rule < action < one end of the action, field by field."""
    loaded = profile(
        tmp_path,
        """
defaults: {look: {ttl: 1, window: 1, tos: 1, ip_id: 1}}
rules:
  - name: a
    when: tcp
    look: {window: 2, tos: 2, ip_id: 2}
    do: [{reset: {look: {tos: 3, ip_id: 3}, to_client: {ip_id: 4}}}]
  - {name: b, when: tcp, do: [reset]}
""",
    )
    action = loaded.rules[0].do[0]
    assert isinstance(action, Reset)
    assert action.look == Look(ttl=Constant(1), window=Constant(2), tos=3, ip_id=Constant(3))
    assert action.look_to_client == Look(ttl=Constant(1), window=Constant(2), tos=3, ip_id=Constant(4))
    assert action.look_to_server is None
    assert look_of(loaded, rule=1) == Look(ttl=Constant(1), window=Constant(1), tos=1, ip_id=Constant(1))


def test_counter_written_once_is_the_same_in_every_look_that_takes_it_over(tmp_path: Path) -> None:
    """A rule's look reaches the looks for both ends and those of its residual; a counter written there is its own."""
    [rule] = profile(tmp_path, f"rules:{SHARED}").rules
    [reset] = [action for action in rule.do if isinstance(action, Reset)]
    assert rule.residual is not None
    [later] = [action for action in rule.residual.do if isinstance(action, Reset)]
    assert reset.look_to_client is not None
    assert isinstance(reset.look.window, Counter)
    assert reset.look_to_client.window is later.look.window is reset.look.window
    assert later.look.ip_id == reset.look.ip_id
    assert later.look.ip_id is not reset.look.ip_id
