"""The four types of 2010 on the wire, against West Chamber's fingerprints and GFWREV (catalogue sections 1 and 13)."""

from __future__ import annotations

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, Run, assert_bare

VECTORS_2 = {1980: (39795, 108), 1981: (39782, 109), 1982: (39769, 110)}
"""Window -> (IP ID, TTL as it leaves the box) of type 2, worked out by hand in the catalogue."""
VECTORS_2A = {1980: 37405}
RESIDUAL_S, TIME_SCALE = 90, 0.01


def first_type(connection: Connection, towards: str) -> list[Packet]:
    return [p for p in connection.forged(towards) if flag_letters(p.flags) == "R"]


def groups_of_three(connection: Connection, towards: str) -> list[list[Packet]]:
    """The second injector's answers, cut where the offsets begin again."""
    packets = [p for p in connection.forged(towards) if flag_letters(p.flags) == "RA"]
    assert len(packets) % 3 == 0
    return [packets[n : n + 3] for n in range(0, len(packets), 3)]


def all_groups(run: Run, steps: tuple[str, ...], families: tuple[int, ...] = FAMILIES) -> list[list[Packet]]:
    return [
        group
        for family in families
        for step in steps
        for towards in ("client", "server")
        for group in groups_of_three(run.connection(step, family), towards)
    ]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["even-port", "odd-port"])
def test_gfw_2010_first_injector_is_one_bare_rst(step: str, family: int, finished_run: FinishedRun) -> None:
    """IP ID 64, DF clear, TTL 64; window by 17 for type 1; window less half the source port by 9 for type 1a."""
    connection = finished_run("gfw-2010").connection(step, family)
    request = connection.first_data().packet
    for towards in ("client", "server"):
        [reset] = first_type(connection, towards)
        assert_bare([reset])
        assert reset.ttl == 64
        if family == 4:
            assert (reset.ip_id, reset.dont_fragment) == (64, False)
        if step == "even-port":
            assert reset.window % 17 == 0
            assert reset.window > 0
        else:
            assert (reset.window - reset.sport // 2) % 9 == 0
    [towards_client] = first_type(connection, "client")
    assert towards_client.seq == request.ack


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["even-port", "odd-port", "split"])
def test_gfw_2010_second_injector_sends_x_and_1460_and_4380(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """Three bare RST+ACK at the expected number, 1460 and 4380 further; IP ID and TTL follow from the window."""
    connection = finished_run("gfw-2010").connection(step, family)
    requests = [p for p in connection.genuine("client") if p.payload]
    last = requests[1] if step == "split" else requests[0]
    expected = {"client": last.ack, "server": last.seq + len(last.payload)}
    for towards in ("client", "server"):
        group = groups_of_three(connection, towards)[0]
        assert_bare(group)
        assert [p.seq - expected[towards] for p in group] == [0, 1460, 4380]
        for p in group:
            assert p.ttl == 48 + p.window % 64
            if family == 4:
                assert p.dont_fragment is True
                by_window = 62753 - 79 * p.window if step == "odd-port" else -1 - 13 * p.window
                assert p.ip_id == by_window % 65536


def test_gfw_2010_vectors_are_those_of_the_catalogue(finished_run: FinishedRun) -> None:
    """Windows 1980 to 1982 give IP IDs 39795, 39782, 39769 and TTLs 108, 109, 110; 2a gives 37405."""
    run = finished_run("gfw-2010")
    seen = {p.window: p for group in all_groups(run, ("even-port", "split", "punished")) for p in group}
    for window, (ip_id, ttl) in VECTORS_2.items():
        assert seen[window].ttl == ttl
        assert seen[window].ip_id in (ip_id, None)  # IPv6 has none
    fourth = {p.window: p.ip_id for g in all_groups(run, ("even-port", "split", "punished"), (4,)) for p in g}
    assert fourth
    assert all(VECTORS_2[w][0] == ip_id for w, ip_id in fourth.items() if w in VECTORS_2)
    odd = {p.window: p.ip_id for g in all_groups(run, ("odd-port", "punished-everywhere"), (4,)) for p in g}
    assert all(VECTORS_2A[window] == ip_id for window, ip_id in odd.items() if window in VECTORS_2A)


def test_gfw_2010_window_counts_one_group_to_each_side(finished_run: FinishedRun) -> None:
    """All packets of a group share a window; the group to the server has the next one; no window comes twice."""
    run = finished_run("gfw-2010")
    windows = []
    for family in FAMILIES:
        for step in ("even-port", "split"):
            connection = run.connection(step, family)
            to_client = groups_of_three(connection, "client")[0]
            to_server = groups_of_three(connection, "server")[0]
            assert {p.window for p in to_client} == {to_client[0].window}
            assert {p.window for p in to_server} == {to_client[0].window + 1}
            windows += [to_client[0].window, to_server[0].window]
    assert len(set(windows)) == len(windows)
    assert min(windows) == 1980


@pytest.mark.parametrize("family", FAMILIES)
def test_gfw_2010_residual_answers_syns_with_a_false_syn_ack(finished_run: FinishedRun, family: int) -> None:
    """90 s: a SYN gets a SYN+ACK of the same fingerprint with a wrong sequence number, anything else RST+ACKs."""
    run = finished_run("gfw-2010")
    for step in ("punished", "punished-everywhere"):
        connection = run.connection(step, family)
        false = [p for p in connection.forged("client") if flag_letters(p.flags) == "SA"]
        assert false
        for p in false:
            assert p.ack == connection.isn("client") + 1
            assert p.seq != connection.isn("server")
            assert p.ttl == 48 + p.window % 64
            assert_bare([p])
            if family == 4:
                assert p.dont_fragment is True
        assert groups_of_three(connection, "client")
    assert run.connection("forgiven", family).forged("client") == []
    answered = run.connection("even-port", family).seen_forged("client")[0].time_ns
    forgiven = run.connection("forgiven", family).seen_genuine("client")[0].time_ns
    assert forgiven - answered >= RESIDUAL_S * TIME_SCALE * 1e9


@pytest.mark.parametrize("step", ["other-word", "no-handshake", "other-client", "forgiven"])
def test_gfw_2010_lets_others_alone(step: str, finished_run: FinishedRun) -> None:
    """Other words, a request without a connection, clients that were not hit, and all when the time is over."""
    for family in FAMILIES:
        connection = finished_run("gfw-2010").connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
