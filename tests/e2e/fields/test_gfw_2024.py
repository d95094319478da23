"""The three injectors on the wire, against the fingerprint table of SP25 (catalogue sections 1, 2.1, 2.3 and 3)."""

from __future__ import annotations

from collections import Counter

import pytest

from middlebox.packet import Packet, flag_letters
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES, SYN, Connection, Run, Seen, assert_bare
from tests.e2e.fields.silence import assert_silent_between, since

AT_CLIENT = {"I": (55, 118), "II": (39, 238), "III": (248, 248)}
"""TTLs as SP25's client saw them."""
HOPS = 6
"""Routers between the box and the client, who was seven hops away."""
IP_IDS = {"I": (0, 0), "II": (0x00A3, 0xFE5F), "III": (0x9916, 0x9933)}
RESIDUAL_S = 180
OUTSIDE_IN = ("sni-from-outside", "host-from-outside")
SEEN = (
    "syn-only", "two-segments", "host-in-two-segments", "out-of-order", "bad-checksum", "data-offset-0", "bad-ack",
    "behind-fin", *OUTSIDE_IN,
)  # fmt: skip
UNSEEN = ("two-records", "no-syn", "behind-rst")

everywhere = pytest.mark.parametrize("family", FAMILIES)


def injector(p: Packet, ttl_of_third: int = 254) -> str:
    """The first has RST alone; of the others the third has a TTL of its own."""
    flags = flag_letters(p.flags)
    assert flags in ("R", "RA")
    return "I" if flags == "R" else "III" if p.ttl == ttl_of_third else "II"


def by_injector(packets: list[Packet], ttl_of_third: int = 254) -> dict[str, list[Packet]]:
    return {name: [p for p in packets if injector(p, ttl_of_third) == name] for name in ("I", "II", "III")}


def assert_table(found: dict[str, list[Packet]]) -> None:
    """Every field of the table but the TTL; no options, no payload."""
    for name, packets in found.items():
        assert_bare(packets)
        assert all(p.window for p in packets)
        of_ipv4 = [p for p in packets if p.version == 4]
        low, high = IP_IDS[name]
        assert all(low <= (p.ip_id or 0) <= high for p in of_ipv4)
        assert {p.dont_fragment for p in of_ipv4} <= {name == "II"}


@pytest.mark.parametrize("towards", ["client", "server"])
@everywhere
def test_injectors_have_their_flags_ids_and_df(finished_run: FinishedRun, family: int, towards: str) -> None:
    """Each field of the table, towards either end, whether a name sets them off or the three minutes after one."""
    run = finished_run("gfw-2024")
    steps = ("sni", "host", "punished", "three-minutes", *SEEN)
    packets = [p for step in steps for c in run.connections(step, family) for p in c.forged(towards)]
    assert_table(by_injector(packets))


@everywhere
def test_ttls_at_the_client_are_those_of_the_table(finished_run: FinishedRun, family: int) -> None:
    """55 to 118, 39 to 238 and 248, behind seven hops, as a subscriber's own capture has them."""
    run = finished_run("gfw-2024")
    connection = run.connection("three-minutes", family)
    arrived = [p for p in run.at_host("sim4", connection) if p.dport == connection.ends.client_port]
    assert len(arrived) == len(connection.forged("client"))
    for name, packets in by_injector(arrived, AT_CLIENT["III"][0]).items():
        low, high = AT_CLIENT[name]
        assert all(low <= p.ttl <= high for p in packets)
        assert len({p.ttl for p in packets}) >= (1 if name == "III" else 5)


@pytest.mark.parametrize("towards", ["client", "server"])
@pytest.mark.parametrize("step", ["syn-only", *OUTSIDE_IN])
@everywhere
def test_second_injector_sends_three_identical_packets_the_others_one(
    step: str, family: int, towards: str, finished_run: FinishedRun
) -> None:
    """Duplicate and identical, with the numbers that the receiver expects; inside out and outside in."""
    connection = finished_run("gfw-2024").connection(step, family)
    assert connection.client_is_inside is (step not in OUTSIDE_IN)
    packets = connection.forged(towards)
    count = Counter(map(injector, packets))
    assert count["II"] == 3
    assert max(count["I"], count["III"]) <= 1
    assert len({p.data for p in packets if injector(p) == "II"}) == 1
    hello = connection.first_data().packet
    behind = hello.seq + len(hello.payload)
    if towards == "client":
        assert {(p.seq, p.ack) for p in packets if injector(p) != "I"} == {(hello.ack, behind)}
    else:
        assert {p.seq for p in packets} == {behind}


def answered(probe: Seen, connection: Connection) -> bool:
    """Whether a RST+ACK to the client acknowledges it."""
    end = probe.packet.seq + len(probe.packet.payload)
    return any(p.ack == end for p in connection.forged("client") if injector(p) != "I")


@everywhere
def test_residual_lasts_three_minutes_and_is_not_renewed(finished_run: FinishedRun, family: int) -> None:
    """A byte every 15 s draws RSTs by all three until 180 s after the name, in spite of those before it; then none.

    What is said leaves the box on the other side when it is judged: these times count.
    """
    run = finished_run("gfw-2024")
    connection = run.connection("three-minutes", family)
    trigger, *probes = [s for s in connection.outside if not s.forged and s.packet.payload]
    assert len(probes) == 15
    assert answered(trigger, connection)
    spoken = [(probe, not answered(probe, connection)) for probe in probes]
    end_s = RESIDUAL_S * run.result["time_scale"]
    assert_silent_between(0.0, end_s, [(-1.0, True), *since(trigger, spoken)])
    hits = [probe for probe, passed in spoken if not passed]
    by_name = Counter(map(injector, connection.forged("client")))
    assert by_name["II"] == 3 * (1 + len(hits))
    for name in ("I", "III"):
        assert 0 <= by_name[name] - len(hits) <= 1


@everywhere
def test_residual_is_for_a_client_a_server_and_a_port(finished_run: FinishedRun, family: int) -> None:
    """Another name from another port is hit; another server, server port or client is not, nor is anybody later."""
    run = finished_run("gfw-2024")
    said = [s for c in run.connections("sni", family) for s in c.seen_genuine("client") if s.packet.payload]
    begun = min(s.time_ns for s in said)
    over = begun + RESIDUAL_S * run.result["time_scale"] * 1e9
    punished = run.connection("punished", family)
    for towards in ("client", "server"):
        assert {injector(p) for p in punished.forged(towards)} == {"I", "II", "III"}
    ends = punished.ends
    for step, differs in (
        ("other-port", (False, False, True)),
        ("other-client", (True, False, False)),
        ("other-server", (False, True, False)),
        ("forgiven", (False, False, False)),
    ):
        connection = run.connection(step, family)
        assert connection.forged("client") + connection.forged("server") == []
        other = connection.ends
        assert differs == (
            other.client != ends.client, other.server != ends.server, other.server_port != ends.server_port,
        )  # fmt: skip
        assert (connection.first_data().time_ns > over) is (step == "forgiven")


@pytest.mark.parametrize("towards", ["client", "server"])
@pytest.mark.parametrize("step", [*SEEN, *UNSEEN])
@everywhere
def test_what_it_reads_is_what_was_measured(
    step: str, family: int, towards: str, finished_run: FinishedRun
) -> None:
    """It needs a SYN, joins segments in any order and no records, goes both ways, and forgets at a RST, not at a FIN;
    it looks at no checksum, ACK number or data offset."""
    connection = finished_run("gfw-2024").connection(step, family)
    assert bool(connection.forged(towards)) is (step in SEEN)


def payloads(run: Run, step: str, family: int) -> list[Packet]:
    return [p for p in run.connection(step, family).genuine("client") if p.payload]


@everywhere
def test_what_it_reads_was_on_the_wire(finished_run: FinishedRun, family: int) -> None:
    """Each trick is in the captures as its step says, and before the name."""
    run = finished_run("gfw-2024")
    head, rest, *_ = payloads(run, "host-in-two-segments", family)
    assert b"blocked.example" not in head.payload
    assert b"blocked.example" not in rest.payload
    assert b"Host: blocked.example\r\n" in head.payload + rest.payload
    late, early = payloads(run, "out-of-order", family)
    assert (early.seq + len(early.payload), early.payload[:1]) == (late.seq, b"\x16")
    no_header = run.connection("data-offset-0", family).genuine("client")[-1]
    assert no_header.data[no_header.l4 + 12] >> 4 == 0
    said, *_ = payloads(run, "bad-ack", family)
    assert (said.ack - run.connection("bad-ack", family).isn("server")) & 0xFFFFFFFF == 1_000_001
    for step, flags in (("behind-fin", "FA"), ("behind-rst", "R"), ("syn-only", "S"), ("bad-checksum", "S")):
        connection = run.connection(step, family)
        assert [flag_letters(p.flags) for p in connection.genuine("client")][-2:] == [flags, "PA"]
        assert not any(p.flags & SYN for p in connection.genuine("server"))
