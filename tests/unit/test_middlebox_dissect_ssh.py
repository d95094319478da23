"""SSH: the identification line, and what is not one."""

from __future__ import annotations

import pytest

from middlebox.dissect.ssh import MAX_BANNER_BYTES, SshDissector
from tests.unit.dissect_talk import DEAD, C, S, feed


def ssh(*fields: str) -> SshDissector:
    return SshDissector(frozenset(fields) if fields else None)


def test_banner_over_segments_appears_with_the_last() -> None:
    """The identification comes without its line end, with the bytes that complete it."""
    dissector = ssh()
    assert not feed(dissector, C, b"SS")
    assert not feed(dissector, C, b"H-2.0-PuTTY_0.78\r")
    assert feed(dissector, C, b"\n\x00\x00\x05") == {"ssh": [True], "ssh.protocol": ["SSH-2.0-PuTTY_0.78"]}
    assert feed(dissector, C, b"\x00\x00\x05") == {"ssh": [True]}


def test_rule_on_the_banner_lets_go_of_the_rest() -> None:
    """Nobody reads the megabytes behind the banner for a rule on the banner."""
    dissector = ssh("ssh.protocol")
    feed(dissector, S, b"SSH-2.0-OpenSSH_9.2\r\n")
    assert dissector.alive == ({"ssh"}, frozenset())
    feed(dissector, C, b"SSH-2.0-OpenSSH_9.2\r\n")
    assert dissector.alive == DEAD


@pytest.mark.parametrize("data", [b"SSL", b"\x16\x03\x01", b"SSH-" + b"x" * MAX_BANNER_BYTES, b"\n"])
def test_other_first_bytes_refute_ssh(data: bytes) -> None:
    """Four bytes decide, and so does an identification that is longer than may be."""
    dissector = ssh()
    assert not feed(dissector, S, data)
    assert dissector.alive == DEAD


def test_lost_bytes_within_the_banner_leave_the_connection_ssh() -> None:
    """A banner that was half lost has no value, but what follows still belongs to SSH."""
    dissector = ssh()
    feed(dissector, C, b"SSH-2.0-")
    dissector.restart(C)
    assert feed(dissector, C, b"anything") == {"ssh": [True]}
