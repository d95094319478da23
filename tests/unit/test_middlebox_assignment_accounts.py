"""What subscribers have used: `subscriber.bytes` and `subscriber.quota`."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from random import Random

from middlebox.decision import Verdict
from middlebox.engine import Engine
from middlebox.load import load_deployment
from middlebox.profile import Deployment, Drop, DropScope, Phase, Placement, Subscriber
from middlebox.wants import Want, plan_for
from tests.unit.talk import CLIENT, OTHER, Talk, profile, rule

OVER = 'tcp.payload contains "vpn" and subscriber.bytes > subscriber.quota'
HEADERS = 40
"""Bytes of IPv4 and TCP headers in these tests."""


def engine(*, quota: int | None = 1000, networks: tuple[str, ...] = ("192.0.2.11/32",)) -> Engine:
    metered = profile(rule(OVER, (Drop(DropScope.FLOW),)), placement=Placement.IN_PATH)
    subscriber = Subscriber("sim1", tuple(map(ip_network, networks)), (Phase(0, metered),), quota)
    return Engine(Deployment("test", (Phase(0, metered),), (subscriber,)), Random(7), 0)


def verdict(talk: Talk, said: bytes) -> Verdict:
    return talk.client_sends(said).verdict


def test_quota_counts_all_connections_of_a_subscriber() -> None:
    """What one connection has used counts against the next, to the byte; the packet at hand counts too."""
    box = engine()
    used = 4 * HEADERS + 500
    first = Talk(box).connect()
    assert verdict(first, b"x" * 500) is Verdict.ACCEPT
    second = Talk(box, port=40001).connect()
    left = 1000 - used - 3 * HEADERS - HEADERS
    assert verdict(second, b"vpn".ljust(left, b".")) is Verdict.ACCEPT
    assert verdict(second, b"vpn") is Verdict.DROP
    assert verdict(second, b"anything") is Verdict.DROP


def test_quota_of_one_subscriber_is_not_another_ones() -> None:
    """Who has no quota never reaches it, however much anybody uses."""
    box = engine()
    assert verdict(Talk(box).connect(), b"vpn" + b"x" * 1000) is Verdict.DROP
    assert verdict(Talk(box, client=OTHER).connect(), b"vpn" + b"x" * 2000) is Verdict.ACCEPT


def test_quota_is_shared_by_all_addresses_of_a_subscriber() -> None:
    """One SIM, two addresses, one account."""
    box = engine(networks=("192.0.2.11/32", "192.0.2.12/32"))
    assert verdict(Talk(box, client=CLIENT).connect(), b"x" * 1000) is Verdict.ACCEPT
    assert verdict(Talk(box, client=OTHER).connect(), b"vpn") is Verdict.DROP


def test_metered_connections_stay_in_user_space() -> None:
    """Nothing is let go while bytes count, and the kernel sends up everything; what is dropped it may drop itself."""
    box = engine()
    talk = Talk(box).connect()
    assert not talk.client_sends(b"GET / HTTP/1.1\r\n").offload
    assert not talk.server_sends(b"HTTP/1.1 200 OK\r\n").offload
    assert talk.client_sends(b"vpn" + b"x" * 1000).offload
    assert plan_for(box.deployment).wants == (Want("any", None, None, every_segment=True),)


def test_quota_is_read_from_a_deployment(tmp_path: Path) -> None:
    """`500MB` of a subscriber; nothing where nothing is written."""
    file = tmp_path / "box.yaml"
    file.write_text(
        "deployment: d\nsubscribers:\n"
        "  - {name: a, address: 192.0.2.11, profile: fair-use, quota: 500MB}\n"
        "  - {name: b, address: 192.0.2.12, profile: fair-use}\n"
    )
    assert [s.quota_bytes for s in load_deployment(file).subscribers] == [500_000_000, None]
