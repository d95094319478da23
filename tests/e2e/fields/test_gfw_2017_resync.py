"""How the firewall of 2017 loses count, on the wire, against Wang17 sections 4 and 5 (catalogue section 3)."""

from __future__ import annotations

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, Run

WINDOW = 1 << 20
"""No window of the lab's hosts is so wide; a number further off is from nowhere."""
SEEN = ("plain", "second-syn", "stray-byte", "behind-false-syn", "behind-fin")
UNCHECKED = ("behind-bad-checksum", "behind-bad-ack", "behind-data-offset-0")
MISSED = ("second-syn-and-stray-byte", "behind-false-syn-ack", *UNCHECKED)

everywhere = pytest.mark.parametrize("family", FAMILIES)


def is_request(p: Packet) -> bool:
    return p.payload.startswith(b"GET /?q=ultrasurf ")


def before_request(connection: Connection) -> list[Packet]:
    """What the client sent until then, as it came to the box."""
    sent = connection.genuine("client")
    return sent[: next(n for n, p in enumerate(sent) if is_request(p))]


def strays(connection: Connection) -> list[str]:
    """Flags, and payload if there is one, of what came before the request with a number far from it."""
    request = next(p for p in connection.genuine("client") if is_request(p))
    before = before_request(connection)
    far = [p for p in before if abs((p.seq - request.seq + 2**31) % 2**32 - 2**31) > WINDOW]
    return [flag_letters(p.flags) + p.payload.decode() for p in far]


def answered_by_server(run: Run, connection: Connection) -> bool:
    at_server = run.at_host("web", connection)
    assert any(is_request(p) for p in at_server)
    return any(p.payload and p.sport == connection.ends.server_port for p in at_server)


@everywhere
@pytest.mark.parametrize("step", SEEN)
def test_request_is_seen_behind_either_trick_alone(step: str, family: int, finished_run: FinishedRun) -> None:
    """A RST and three RST+ACK to either end, counted from where the request really stands."""
    connection = finished_run("gfw-2017-resync").connection(step, family)
    request = next(p for p in connection.genuine("client") if is_request(p))
    expected = {"client": request.ack, "server": request.seq + len(request.payload)}
    for towards, seq in expected.items():
        resets = [p for p in connection.forged(towards) if flag_letters(p.flags) == "RA"][:3]
        assert [p.seq - seq for p in resets] == [0, 1460, 4380]


@everywhere
@pytest.mark.parametrize("step", MISSED)
def test_request_is_missed_and_answered(step: str, family: int, finished_run: FinishedRun) -> None:
    """The request reaches the server, which answers; nothing is forged towards anybody."""
    run = finished_run("gfw-2017-resync")
    connection = run.connection(step, family)
    assert answered_by_server(run, connection)
    assert connection.forged("client") + connection.forged("server") == []


@everywhere
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ("plain", []),
        ("second-syn", ["S"]),
        ("stray-byte", ["PAx"]),
        ("second-syn-and-stray-byte", ["S", "PAx"]),
        ("behind-false-syn", ["S"]),
        ("behind-false-syn-ack", ["SA"]),
    ],
)
def test_insertions_are_those_of_wang17_and_no_server_sees_them(
    step: str, expected: list[str], family: int, finished_run: FinishedRun
) -> None:
    """What differs between the steps is in the captures: this, with numbers out of every window, and nothing else."""
    run = finished_run("gfw-2017-resync")
    connection = run.connection(step, family)
    assert strays(connection) == expected
    at_server = [p for p in run.at_host("web", connection) if p.dport == connection.ends.server_port]
    assert [flag_letters(p.flags) for p in at_server[:2]] == ["S", "A"]
    assert not any(p.payload == b"x" for p in at_server)
    first = flag_letters(connection.genuine("client")[0].flags)
    assert first == ("SA" if step == "behind-false-syn-ack" else "S")


@everywhere
@pytest.mark.parametrize("step", UNCHECKED)
def test_junk_that_every_server_drops_takes_the_place_of_the_request(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """Wang17 table 3: checksum, ack number and data offset are not checked; junk and request have the same number."""
    run = finished_run("gfw-2017-resync")
    connection = run.connection(step, family)
    junk, request = connection.genuine("client")[2:4]
    assert b"GET /?q=anything " in junk.data
    assert is_request(request)
    assert junk.seq == request.seq
    assert not any(b"anything" in p.data for p in run.at_host("web", connection))


@everywhere
def test_fin_does_not_end_a_connection(family: int, finished_run: FinishedRun) -> None:
    """Wang17 section 4: the request behind a FIN that no server sees is answered."""
    run = finished_run("gfw-2017-resync")
    connection = run.connection("behind-fin", family)
    assert [flag_letters(p.flags) for p in connection.genuine("client")][:4] == ["S", "A", "FA", "PA"]
    assert connection.forged("client")
    at_server = [p for p in run.at_host("web", connection) if p.dport == connection.ends.server_port]
    assert [flag_letters(p.flags) for p in at_server[:3]] == ["S", "A", "PA"]
