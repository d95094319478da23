"""The four types of 2010 on the wire, against West Chamber's fingerprints and GFWREV (catalogue sections 1 and 13)."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, Connection, Run, assert_bare
from tests.e2e.fields.sentence import assert_lasts, said_alone

RESIDUAL_S = 90
FIRST_WINDOW = 1980
BOTH_ENDS = ("client", "server")
NODE_OF_80 = ("even-port", "split", "pretended-handshake", "punished", "punished-syn")
"""Steps that meet type 2 at the node of server port 80 (which is that of 93 too: both are 2 modulo 13)."""

everywhere = pytest.mark.parametrize("family", FAMILIES)


def by_flags(connection: Connection, towards: str, flags: str) -> list[Packet]:
    return [p for p in connection.forged(towards) if flag_letters(p.flags) == flags]


def groups_of_three(connection: Connection, towards: str) -> list[list[Packet]]:
    """The second injector's answers, cut where the offsets begin again."""
    packets = by_flags(connection, towards, "RA")
    assert len(packets) % 3 == 0
    groups = [packets[n : n + 3] for n in range(0, len(packets), 3)]
    for group in groups:
        assert [p.seq - group[0].seq for p in group] == [0, 1460, 4380]
        assert {p.window for p in group} == {group[0].window}
    return groups


def windows(connections: Iterable[Connection], towards: str, *, flags: str = "RA") -> list[int]:
    """Of all that the second injector said towards one end: one for each group, one for each SYN+ACK."""
    found: list[int] = []
    for connection in connections:
        if flags == "RA":
            found += [group[0].window for group in groups_of_three(connection, towards)]
        else:
            found += [p.window for p in by_flags(connection, towards, flags)]
    return sorted(found)


def answers(run: Run, step: str) -> list[list[tuple[int, int | None, int]]]:
    """(window, IP ID, TTL as it leaves the box) of the second injector's packets over IPv4, by end."""
    connection = run.connection(step, 4)
    return [[(p.window, p.ip_id, p.ttl) for p in by_flags(connection, end, "RA")] for end in BOTH_ENDS]


@everywhere
@pytest.mark.parametrize("step", ["even-port", "odd-port"])
def test_gfw_2010_first_injector_is_one_bare_rst(step: str, family: int, finished_run: FinishedRun) -> None:
    """IP ID 64, DF clear, TTL 64; window by 17 for type 1; window less half the source port by 9 for type 1a."""
    connection = finished_run("gfw-2010").connection(step, family)
    request = connection.first_data().packet
    for towards in BOTH_ENDS:
        [reset] = by_flags(connection, towards, "R")
        assert_bare([reset])
        assert reset.ttl == 64
        assert reset.window > 0
        if family == 4:
            assert (reset.ip_id, reset.dont_fragment) == (64, False)
        if step == "even-port":
            assert reset.window % 17 == 0
        else:
            assert (reset.window - reset.sport // 2) % 9 == 0
    [towards_client] = by_flags(connection, "client", "R")
    assert towards_client.seq == request.ack


@everywhere
@pytest.mark.parametrize("step", ["even-port", "odd-port", "split"])
def test_gfw_2010_second_injector_sends_x_and_1460_and_4380(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """Three bare RST+ACK at the expected number, 1460 and 4380 further; IP ID and TTL follow from the window."""
    connection = finished_run("gfw-2010").connection(step, family)
    requests = [p for p in connection.genuine("client") if p.payload]
    last = requests[1] if step == "split" else requests[0]
    expected = {"client": last.ack, "server": last.seq + len(last.payload)}
    for towards in BOTH_ENDS:
        group = groups_of_three(connection, towards)[0]
        assert_bare(group)
        assert [p.seq - expected[towards] for p in group] == [0, 1460, 4380]
        for p in group:
            assert p.ttl == 48 + p.window % 64
            if family == 4:
                assert p.dont_fragment is True
                by_window = 62753 - 79 * p.window if step == "odd-port" else -1 - 13 * p.window
                assert p.ip_id == by_window % 65536


@pytest.mark.parametrize(
    ("step", "to_client", "to_server"),
    [
        ("from-1980", (1980, 39795, 108), (1981, 39782, 109)),
        ("goes-on", (1982, 39769, 110), (1983, 39756, 111)),
        ("begins-again", (1980, 39795, 108), (1981, 39782, 109)),
        ("from-3293", (3293, 22726, 77), (3294, 22713, 78)),
        ("from-5041", (5041, 2, 97), (5042, 65525, 98)),
        ("odd-from-1980", (1980, 37405, 108), (1981, 37326, 109)),
        ("odd-from-5041", (5041, 57730, 97), (5042, 57651, 98)),
    ],
)
def test_gfw_2010_vectors_are_those_of_the_catalogue(
    step: str,
    to_client: tuple[int, int, int],
    to_server: tuple[int, int, int],
    finished_run: FinishedRun,
) -> None:
    """(window, IP ID, TTL), worked out by hand. A node goes on with the next number to the server and the one after
    that to the next client (server ports 80 and 106 are the same modulo 13); another (443) begins at the beginning."""
    run = finished_run("gfw-2010")
    assert answers(run, step) == [[to_client] * 3, [to_server] * 3]


def test_gfw_2010_copies_look_at_ipv4_only(finished_run: FinishedRun) -> None:
    """Nobody else draws from the counters that the vectors are about."""
    run = finished_run("gfw-2010")
    for step in (
        "from-1980",
        "goes-on",
        "begins-again",
        "from-3293",
        "from-5041",
        "odd-from-1980",
        "odd-from-5041",
    ):
        connection = run.connection(step, 6)
        assert connection.first_data().packet.payload.startswith(b"GET /?q=falun ")
        assert connection.forged("client") + connection.forged("server") == []


@everywhere
def test_gfw_2010_window_of_the_group_to_the_server_is_the_next_one(
    finished_run: FinishedRun, family: int
) -> None:
    """Each block takes two numbers of its node, one for each side. Server ports 80 and 93 are one node."""
    run = finished_run("gfw-2010")
    blocked = [run.connection(step, family) for step in ("even-port", "split", "pretended-handshake")]
    assert [c.ends.server_port for c in blocked] == [80, 80, 93]
    for connection in blocked:
        to_client, to_server = (groups_of_three(connection, end)[0][0].window for end in BOTH_ENDS)
        assert to_server == to_client + 1


def test_gfw_2010_nodes_count_for_themselves(finished_run: FinishedRun) -> None:
    """The same word on server port 443, another node, begins at the beginning again (13 counters, by port)."""
    run = finished_run("gfw-2010")
    met = [run.connection("other-node", family) for family in FAMILIES]
    assert {c.ends.server_port for c in met} == {443}
    assert all(c.first_data().packet.payload.startswith(b"GET /?q=falun ") for c in met)
    assert windows(met, "client")[0] == FIRST_WINDOW
    assert windows(met, "server")[0] == FIRST_WINDOW + 1


@pytest.mark.parametrize(
    "steps", [NODE_OF_80, ("odd-port", "punished-odd"), ("other-node", "punished-other-node")]
)
def test_gfw_2010_node_counts_on_while_it_punishes(steps: tuple[str, ...], finished_run: FinishedRun) -> None:
    """Blocks, false SYN+ACKs and what comes after draw from one counter: no number comes twice, none is missing."""
    run = finished_run("gfw-2010")
    met = [run.connection(step, family) for family in FAMILIES for step in steps]
    assert {flag_letters(p.flags) for c in met for p in c.forged("client")} == {"R", "RA", "SA"}
    drawn = windows(met, "client") + windows(met, "server") + windows(met, "client", flags="SA")
    assert sorted(drawn) == list(range(FIRST_WINDOW, FIRST_WINDOW + len(drawn)))


@everywhere
@pytest.mark.parametrize("step", ["punished", "punished-odd", "punished-other-node"])
def test_gfw_2010_punishes_with_false_syn_acks_of_the_same_fingerprint(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """A SYN gets one with a wrong sequence number, anything else RST+ACKs; the first injector has no part in it."""
    connection = finished_run("gfw-2010").connection(step, family)
    false = by_flags(connection, "client", "SA")
    assert false
    assert_bare(false)
    for p in false:
        assert p.ack == connection.isn("client") + 1
        assert p.seq != connection.isn("server")
        assert p.ttl == 48 + p.window % 64
        if family == 4:
            assert p.dont_fragment is True
            by_window = 62753 - 79 * p.window if step == "punished-odd" else -1 - 13 * p.window
            assert p.ip_id == by_window % 65536
    assert groups_of_three(connection, "client")
    assert {flag_letters(p.flags) for p in connection.forged("client")} == {"SA", "RA"}
    assert {flag_letters(p.flags) for p in connection.forged("server")} <= {"RA"}


@everywhere
def test_gfw_2010_answers_the_servers_syn_ack_too(finished_run: FinishedRun, family: int) -> None:
    """Where nobody says more than a SYN, and the server its SYN+ACK, the latter gets the RST+ACKs."""
    connection = finished_run("gfw-2010").connection("punished-syn", family)
    said = {flag_letters(p.flags) for end in BOTH_ENDS for p in connection.genuine(end)}
    assert {"S", "SA"} <= said <= {"S", "SA", "R"}
    assert len(by_flags(connection, "client", "SA")) == 1
    group = groups_of_three(connection, "client")[0]
    assert group[0].seq == (connection.isn("server") + 1) & 0xFFFFFFFF
    assert groups_of_three(connection, "server")


@everywhere
def test_gfw_2010_punishes_for_90_seconds_and_no_longer(finished_run: FinishedRun, family: int) -> None:
    """SYNs in between are answered and do not start the time anew; when it is over, a page is a page again."""
    run = finished_run("gfw-2010")
    connection = run.connection("timer", family)
    answers = {p.ack for p in by_flags(connection, "client", "SA")}
    tries = [(seen, (seen.packet.seq + 1) & 0xFFFFFFFF in answers) for seen in said_alone(connection)]
    assert_lasts(connection, RESIDUAL_S * run.result["time_scale"], tries)


@everywhere
@pytest.mark.parametrize("step", ["pretended-handshake", "word-before-junk"])
def test_gfw_2010_needs_no_server(step: str, family: int, finished_run: FinishedRun) -> None:
    """Who pretends a handshake is answered as if there were one; of a word sent in two versions the first counts."""
    connection = finished_run("gfw-2010").connection(step, family)
    assert connection.genuine("server") == []
    for towards in BOTH_ENDS:
        assert len(by_flags(connection, towards, "R")) == 1
        assert len(groups_of_three(connection, towards)) == 1


@everywhere
def test_gfw_2010_does_not_look_at_what_is_acknowledged(finished_run: FinishedRun, family: int) -> None:
    """A request that acknowledges what the server is far from having said is answered like any other."""
    connection = finished_run("gfw-2010").connection("wrong-ack", family)
    request = connection.first_data().packet
    said = {(p.seq, flag_letters(p.flags)) for p in connection.genuine("server")}
    assert (connection.isn("server"), "SA") in said
    assert connection.relative(request) == (1, 500001)
    for towards in BOTH_ENDS:
        assert len(by_flags(connection, towards, "R")) == 1
        assert groups_of_three(connection, towards)


@everywhere
def test_gfw_2010_overlaps_differ_in_their_order_only(finished_run: FinishedRun, family: int) -> None:
    """Both steps send the same segments to the same places; only which of the two versions comes first differs."""
    run = finished_run("gfw-2010")
    said = {}
    for step in ("word-before-junk", "junk-before-word"):
        connection = run.connection(step, family)
        said[step] = [(connection.relative(p)[0], p.payload) for p in connection.genuine("client")]
    first, second = said.values()
    assert [seq for seq, _ in first] == [seq for seq, _ in second] == [0, 11, 11, 1]
    assert (first[1], first[2]) == (second[2], second[1])
    assert first[3][1] + first[1][1] == b"GET /?q=falun HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize(
    "step",
    [
        "other-word",
        "no-handshake",
        "junk-before-word",
        "other-client",
        "other-port",
        "other-server",
        "forgiven",
    ],
)
def test_gfw_2010_lets_others_alone(step: str, finished_run: FinishedRun) -> None:
    """Other words, a request out of nothing, junk that came first; other clients, ports and servers than those that are
    punished; all when the time is over."""
    for family in FAMILIES:
        connection = finished_run("gfw-2010").connection(step, family)
        assert connection.genuine("client")
        assert connection.forged("client") + connection.forged("server") == []


@everywhere
def test_gfw_2010_others_are_let_alone_while_it_punishes(finished_run: FinishedRun, family: int) -> None:
    """Another port of the same server and another server, of clients whose sentence is not over."""
    run = finished_run("gfw-2010")
    for step, earned_by in (("other-port", "even-port"), ("other-server", "other-node")):
        sentenced, other = run.connection(earned_by, family), run.connection(step, family)
        assert other.ends.client == sentenced.ends.client
        later_s = (other.seen_genuine("client")[0].time_ns - sentenced.first_data().time_ns) / 1e9
        assert 0 < later_s < RESIDUAL_S * run.result["time_scale"]
