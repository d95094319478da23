"""What the client drivers share: counters of the kernel, the C library's words, the target's mail."""

from __future__ import annotations

import errno
import os
from email import message_from_bytes
from pathlib import Path

import pytest

from lab.clients.base import Outcome, Target, outcome_of_text, parse_counters


def target(tmp_path: Path) -> Target:
    """A target with nothing but what must be given."""
    return Target(server_name="mail.example", directory=tmp_path)


def test_counters_are_read_by_group_and_name() -> None:
    """The kernel's tables come as pairs of lines, names above values; a group may appear in both files."""
    tables = "Tcp: RtoMin EstabResets\nTcp: 200 3\nTcpExt: TCPAbortOnData TCPAbortOnClose\nTcpExt: 1 2\n"
    assert parse_counters(tables) == {
        "Tcp:RtoMin": 200,
        "Tcp:EstabResets": 3,
        "TcpExt:TCPAbortOnData": 1,
        "TcpExt:TCPAbortOnClose": 2,
    }


def test_counters_of_this_kernel_have_what_the_drivers_read() -> None:
    """The counters that tell a RST exist in the tables of the running kernel."""
    tables = Path("/proc/net/snmp").read_text() + Path("/proc/net/netstat").read_text()
    needed = {"Tcp:EstabResets", "TcpExt:TCPAbortOnClose", "TcpExt:TCPAbortOnTimeout"}
    assert needed <= parse_counters(tables).keys()


@pytest.mark.parametrize(
    ("number_name", "outcome"),
    [
        ("ECONNRESET", Outcome.CONNECTION_RESET),
        ("EPIPE", Outcome.CONNECTION_RESET),
        ("ECONNREFUSED", Outcome.REFUSED),
        ("ETIMEDOUT", Outcome.TIMEOUT),
        ("EHOSTUNREACH", Outcome.UNREACHABLE),
        ("ENETUNREACH", Outcome.UNREACHABLE),
    ],
)
def test_words_of_the_c_library_name_the_outcome(number_name: str, outcome: Outcome) -> None:
    """The text of strerror(3), wherever it stands in a message, decides."""
    assert outcome_of_text(f"client: cannot go on: {os.strerror(getattr(errno, number_name))}.") is outcome


def test_words_of_nobody_name_no_outcome() -> None:
    """A message without the C library's words is left to the driver."""
    assert outcome_of_text("client: something happened") is None


def test_target_without_message_has_a_short_mail(tmp_path: Path) -> None:
    """The standard mail is well-formed, from the sender to the recipient, with CR LF everywhere."""
    mail = target(tmp_path).mail()
    parsed = message_from_bytes(mail)
    assert (parsed["From"], parsed["To"]) == ("alice@mail.example", "bob@mail.example")
    assert mail.count(b"\n") == mail.count(b"\r\n")
    assert mail.endswith(b"\r\n")
