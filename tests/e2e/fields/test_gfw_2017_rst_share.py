"""How often a RST makes the firewall of 2017 forget a connection, against Wang17 section 4 and Bock20 section 5.1."""

from __future__ import annotations

from math import sqrt

import pytest

from middlebox.packet import RST, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, Run

ANSWERED = 1 - 0.028
"""Of the requests that are seen (Wang17 section 3.4)."""
AFTER_RST = 0.2
"""Wang17: TCB teardown by a RST succeeds about four times in five."""
REFUSED = 0.5
"""Bock20: for HTTP, a server's RST in the handshake works half the time."""
COUNT = 240
MOST_LEFT_OUT = 140
"""On a busy machine some begin while their client is still punished, or speak before they are refused."""
WITHIN, BEYOND = 5, 3
"""Standard deviations; chance goes further than five once in two million times. What tells the shares apart needs no
more than three: a busy box lets some requests pass unseen; at which dice exactly it acts the unit test shows."""


def connections(run: Run, steps: list[str]) -> list[Connection]:
    return [one for family in FAMILIES for step in steps for one in run.connections(step, family)]


def is_seen(connection: Connection) -> bool:
    """Whether the box answers the request, which comes behind a RST: to both ends, or to neither."""
    genuine = connection.genuine("client")
    [at] = [n for n, p in enumerate(genuine) if p.payload.startswith(b"GET /?q=ultrasurf ")]
    request = genuine[at]
    three = [p for p in connection.forged("client") if flag_letters(p.flags) == "RA"]
    assert [p.seq - request.ack for p in three[:3]] in ([], [0, 1460, 4380])
    assert bool(three) is bool(connection.forged("server"))
    return bool(three)


def behind_rst(run: Run, steps: list[str]) -> list[Connection]:
    """Whose request came to the box behind the RST, and which began while nobody was punished."""
    met = connections(run, steps)
    assert len(met) == COUNT
    kept = [
        one for one in met if "SA" not in {s.flags for s in one.seen_forged("client")} and is_behind_rst(one)
    ]
    assert COUNT - len(kept) <= MOST_LEFT_OUT
    return kept


def is_behind_rst(connection: Connection) -> bool:
    sent = [*connection.seen_genuine("client"), *connection.seen_genuine("server")]
    rst = min((seen.time_ns for seen in sent if seen.packet.flags & RST), default=None)
    return rst is not None and rst < connection.first_data().time_ns


def assert_likely(seen: int, count: int, share: float, *, unlike: float) -> None:
    """So many of so many are what chance makes of a share, and not of the other."""

    def is_within(deviations: float, share: float) -> bool:
        return abs(seen - share * count) < deviations * sqrt(share * (1 - share) * count)

    assert is_within(WITHIN, share)
    assert not is_within(BEYOND, unlike)


@pytest.fixture
def run(finished_run: FinishedRun) -> Run:
    return finished_run("gfw-2017-rst-share")


def test_one_rst_in_five_only_makes_it_lose_count(run: Run) -> None:
    """No server sees the RST; where the box forgets at it, the page comes and nothing is forged."""
    kept = behind_rst(run, [f"after-rst-from-sim{n}" for n in range(1, 9)])
    pages = missed = 0
    for connection in kept:
        assert [flag_letters(p.flags) for p in connection.genuine("client")][:4] == ["S", "A", "R", "PA"]
        if not is_seen(connection):
            at_server = run.at_host("web", connection)
            arrived = [flag_letters(p.flags) for p in at_server if p.dport == connection.ends.server_port]
            assert arrived[:3] == ["S", "A", "PA"]
            missed += 1
            pages += any(p.payload.startswith(b"HTTP/1.1 200 ") for p in connection.genuine("server"))
    assert (
        pages > 0.5 * missed
    )  # the client gives up after 150 ms, which on a busy machine comes before its page
    assert_likely(sum(map(is_seen, kept)), len(kept), AFTER_RST * ANSWERED, unlike=REFUSED * ANSWERED)


def test_it_goes_on_behind_every_other_refusal(run: Run) -> None:
    """The server's own kernel refuses; what the client says all the same is answered by the box half the time."""
    kept = behind_rst(run, [f"refused-from-sim{n}" for n in range(9, 17)])
    for connection in kept:
        assert [flag_letters(p.flags) for p in connection.genuine("client")] == ["S", "PA"]
        assert flag_letters(connection.genuine("server")[0].flags) == "RA"
    assert_likely(sum(map(is_seen, kept)), len(kept), REFUSED * ANSWERED, unlike=AFTER_RST * ANSWERED)
