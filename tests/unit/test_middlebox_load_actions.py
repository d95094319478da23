"""Actions: each in the forms in which it may be written, and what it says when the file does not."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path

import pytest

from middlebox.flow import Direction
from middlebox.look import Constant, Look, Quantiles, Uniform
from middlebox.packet import ACK, FIN, PSH, RST
from middlebox.profile import (
    Action,
    AnswerName,
    Close,
    Delay,
    Dns,
    Drop,
    DropScope,
    Icmp,
    KeyPart,
    Log,
    Mark,
    Reply,
    Reset,
    Rewrite,
    Substitution,
    Throttle,
    Towards,
    Unmark,
)
from tests.unit.yaml_files import profile

BOTH = (Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT)
ADDRESS = ip_address("192.0.2.1").packed
ADDRESS6 = ip_address("2001:db8::1").packed


def action(folder: Path, written: str, around: str = "") -> Action:
    """The one action of a profile. around: what stands before its rules."""
    [rule] = profile(
        folder, f"{around}\nrules:\n  - name: a\n    when: tcp\n    do:\n      - {written}\n"
    ).rules
    [only] = rule.do
    return only


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("reset", Reset(Towards.BOTH, Look(flags=RST))),
        ("reset: {towards: server}", Reset(Towards.SERVER, Look(flags=RST))),
        ("close", Close(Towards.BOTH, Look(flags=FIN | ACK))),
        ("close: {towards: client, look: {flags: F}}", Close(Towards.CLIENT, Look(flags=FIN))),
        (
            'reply: {towards: client, look: {payload: "454 no\\r\\n"}}',
            Reply(Towards.CLIENT, Look(flags=PSH | ACK, payload=b"454 no\r\n")),
        ),
        ("drop", Drop(DropScope.PACKET)),
        ("drop: direction", Drop(DropScope.DIRECTION)),
        ("log", Log()),
        ("rewrite: {strip: true, flags: RA}", Rewrite((), RST | ACK, strip=True)),
        (
            "rewrite: {replace: {match: '(?i)STARTTLS', with: XXXXXXXX}}",
            Rewrite((Substitution(re.compile(rb"(?i)STARTTLS"), b"XXXXXXXX"),)),
        ),
        (
            "rewrite: {replace: [{match: '(.)TLS', with: '\\1XXX'}, {match: é, with: ''}]}",
            Rewrite(
                (Substitution(re.compile(rb"(.)TLS"), rb"\1XXX"), Substitution(re.compile(b"\xe9"), b""))
            ),
        ),
        ("throttle: {rate: 140kbit, burst: 8KiB}", Throttle(Constant(140_000), 8192, BOTH)),
        (
            "throttle: {rate: {range: [130kbit, 150kbit]}, burst: 8KiB, direction: server-to-client}",
            Throttle(Uniform(130_000, 150_000), 8192, (Direction.SERVER_TO_CLIENT,)),
        ),
        ("delay: 100ms", Delay(100_000_000)),
        ("delay: {quantiles: {0: 1ms, 100: 2ms}}", Delay(Quantiles(((0.0, 1_000_000), (1.0, 2_000_000))))),
        ("dns: {a: 192.0.2.1}", Dns((ADDRESS,), (), Look())),
        (
            'dns: {a: [192.0.2.1], aaaa: ["2001:db8::1"], ttl: {range: [60, 300]}, authoritative: true, '
            "recursion_available: false, cyclic: true, any_type: true, name: written, look: {ttl: 64}}",
            Dns(
                (ADDRESS,), (ADDRESS6,), Look(), Uniform(60, 300), authoritative=True, recursion_available=False,
                cyclic=True, any_type=True, name=AnswerName.WRITTEN,
            ),
        ),
        ("icmp", Icmp(Towards.BOTH, Look())),
        ("icmp: {towards: client, type: 3, code: 1, type6: 1, code6: 3}", Icmp(Towards.CLIENT, Look(), 3, 1, 1, 3)),
        ("mark: seen", Mark("seen")),
        ("unmark: seen", Unmark("seen")),
        (
            "mark: {word: seen, key: [client_ip, server_port], for: 90s}",
            Mark("seen", (KeyPart.CLIENT_IP, KeyPart.SERVER_PORT), 90 * 10**9),
        ),
    ],
)  # fmt: skip
def test_action_is_read(tmp_path: Path, written: str, read: Action) -> None:
    """Each action, in each form in which it may be written, gives its value in the model."""
    assert action(tmp_path, written) == read


@pytest.mark.parametrize(
    ("written", "flags"),
    [("close", FIN | ACK), ("reply: {look: {payload: x}}", PSH | ACK), ("reset", RST | ACK)],
)
def test_action_takes_from_the_look_around_what_is_not_about_resets(
    tmp_path: Path, written: str, flags: int
) -> None:
    """TTL and its like hold for all that the box forges; flags, count and offsets of its resets do not."""
    around = "defaults: {look: {ttl: 55, flags: RA, count: 3, seq_offsets: [0, 1460, 4380]}}"
    found = action(tmp_path, written, around)
    assert isinstance(found, Reset)
    assert found.look.ttl == Constant(55)
    assert found.look.flags == flags
    assert found.look.count == (3 if written == "reset" else 1)
