"""What only many names show of the three injectors: how often, how late, and how far their fields go (SP25)."""

from __future__ import annotations

from collections import Counter
from math import sqrt

import pytest

from scenarios.captures import read_capture
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.delays import WITHIN, assert_published, delay_of, meant_delays_ms
from tests.e2e.fields.finished import FAMILIES, Connection, Run
from tests.e2e.fields.test_gfw_2024 import AT_CLIENT, IP_IDS, assert_table, by_injector, injector

QUANTILES_MS = {0: 11.53, 0.05: 12.67, 0.25: 14.90, 0.50: 16.42, 0.75: 18.41, 0.95: 22.71, 1: 445.39}
"""From a ClientHello to the first RST, as SP25 has them by share: shortest to longest."""
FIRST, THIRD = 77_892 / (309_333 / 3), 4_366 / (309_333 / 3)
"""Numbers of packets in SP25: each answer of the second injector is three of them."""
CLIENTS = 16
HTTPS_PORT = 443
RESIDUAL_S, IDLE_S, SLACK_S = 180, 600, 0.02
COUNT, MOST_LEFT_OUT = 384, 144
"""On a busy machine some names come while their client is still punished, or when their SYN is forgotten."""


def fresh(run: Run, number: int, family: int) -> list[Connection]:
    """A client's names that came to a box that knew of the SYN, and of no other name of the same client's by then.

    A packet leaves the box on the other side when it is judged: these times count.
    """
    scale = run.result["time_scale"]
    found = []
    before_s = float("-inf")
    for connection in run.connections(f"from-sim{number}", family):
        syn_s, name_s = [s.time_ns / 1e9 for s in connection.outside if not s.forged]
        is_free = name_s - before_s > RESIDUAL_S * scale + SLACK_S
        if is_free and name_s - syn_s < IDLE_S * scale - SLACK_S:
            found.append(connection)
        before_s = name_s
    return found


@pytest.fixture(scope="module")
def by_client(finished_run: FinishedRun) -> dict[str, list[Connection]]:
    """By the name of a host."""
    run = finished_run("gfw-2024-share")
    numbers = range(1, CLIENTS + 1)
    found = {f"sim{n}": [c for family in FAMILIES for c in fresh(run, n, family)] for n in numbers}
    assert COUNT - MOST_LEFT_OUT <= sum(map(len, found.values())) <= COUNT
    return found


@pytest.fixture
def connections(by_client: dict[str, list[Connection]]) -> list[Connection]:
    """Those of all clients."""
    return [connection for found in by_client.values() for connection in found]


def assert_likely(found: int, count: int, share: float) -> None:
    """So many of so many are what chance makes of a share."""
    assert found
    assert abs(found - share * count) < WITHIN * sqrt(share * (1 - share) * count)


def test_injectors_answer_as_often_as_their_packets_are_many(connections: list[Connection]) -> None:
    """The second always, three times; the first to 75.5 names in a hundred, the third to 4.2, once; to both ends."""
    answers = Counter[str]()
    for connection in connections:
        to_client, to_server = (
            Counter(map(injector, connection.forged(end))) for end in ("client", "server")
        )
        assert to_client == to_server
        assert to_client["II"] == 3
        assert max(to_client["I"], to_client["III"]) <= 1
        answers += to_client
    assert_likely(answers["I"], len(connections), FIRST)
    assert_likely(answers["III"], len(connections), THIRD)


def test_first_rst_has_the_published_delay(finished_run: FinishedRun, connections: list[Connection]) -> None:
    """11.53, 12.67, 14.90, 16.42, 18.41, 22.71 and 445.39 ms from a ClientHello to the first RST of any injector."""
    meant_ms = meant_delays_ms(finished_run("gfw-2024-share"))
    delays = []
    for connection in connections:
        hello, forged = connection.first_data(), connection.seen_forged("client")
        first_meant_ms = min(meant_ms[seen.packet.data] for seen in forged)
        delays.append(delay_of(connection, hello, forged[0], first_meant_ms))
    assert_published(delays, QUANTILES_MS)


def assert_spread(found: list[int], low: int, high: int) -> None:
    """None is outside, and some are in the first and in the last tenth."""
    assert low <= min(found) <= low + (high - low) // 10
    assert high - (high - low) // 10 <= max(found) <= high


def test_ttls_and_ip_ids_are_drawn_from_the_whole_of_their_ranges(finished_run: FinishedRun) -> None:
    """As the clients' own captures have them, seven hops away from the box: no server ever says anything to them."""
    folder = finished_run("gfw-2024-share").directory / "captures"
    hosts = [read_capture(folder / f"sim{number}.pcapng") for number in range(1, CLIENTS + 1)]
    packets = [captured.packet for host in hosts for captured in host if captured.packet.sport == HTTPS_PORT]
    table = by_injector(packets, AT_CLIENT["III"][0])
    assert_table(table)
    for name, of_one in table.items():
        assert_spread([p.ttl for p in of_one], *AT_CLIENT[name])
    assert_spread([p.ip_id or 0 for p in table["II"] if p.version == 4], *IP_IDS["II"])
    assert len({p.ip_id for p in table["III"] if p.version == 4}) > 1
