"""Iran's protocol filter on the wire, against GEN-iran (catalogue section 7)."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.silence import Passages, assert_all_pass, passages

DURATION_S = 60.0
KNOWN = (
    "dns-on-443",
    "http-on-53",
    "tls-on-80",
    "tls-3-on-443",
    "known-second",
    "other-port",
    "from-outside",
)
UNKNOWN = (
    "dns-answer", "dns-15-questions", "dns-with-answer", "dns-11-bytes", "http-7-bytes", "http-patch", "http-small",
    "tls-40-bytes", "tls-1-3-on-record", "tls-wrong-length",
)  # fmt: skip


def with_data(found: Passages) -> list[bool]:
    """Whether each packet with data passed."""
    return [passed for seen, passed in found if seen.packet.payload]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", UNKNOWN)
def test_protocol_that_is_not_quite_known_gets_one_packet_through(
    step: str, family: int, finished_run: FinishedRun
) -> None:
    """The second packet with data is dropped, and the third with it, on each of the three ports."""
    connection = finished_run("iran-filter").connection(step, family)
    assert connection.ends.server_port in (53, 80, 443)
    assert with_data(passages(connection)) == [True, False, False]
    assert connection.forged("client") + connection.forged("server") == []


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", [*KNOWN, "web", "secure-web"])
def test_known_protocol_passes_on_any_of_the_ports(step: str, family: int, finished_run: FinishedRun) -> None:
    """Any of the three on any of the three ports, first or second; other ports and who comes from outside go free."""
    connection = finished_run("iran-filter").connection(step, family)
    assert_all_pass(passages(connection))


def test_fingerprints_are_those_of_the_catalogue(finished_run: FinishedRun) -> None:
    """What the packets of the steps are: 12 bytes with QR 0, 8 bytes of a request, 41 bytes of a record; or one off."""
    run = finished_run("iran-filter")
    said = {step: run.connection(step, 4).first_data().packet.payload for step in (*KNOWN, *UNKNOWN)}
    assert {step: len(said[step]) for step in ("dns-on-443", "http-on-53", "tls-on-80")} == {
        "dns-on-443": 12, "http-on-53": 8, "tls-on-80": 41,
    }  # fmt: skip
    dns = said["dns-on-443"]
    assert (dns[2] >> 7, dns[4:6], dns[6:8]) == (0, b"\0\1", b"\0\0")
    assert said["dns-answer"][2] >> 7 == 1
    assert said["dns-15-questions"][4:6] == b"\0\x0f"
    assert said["dns-with-answer"][6:8] == b"\0\1"
    assert said["tls-on-80"][:5] == b"\x16\x03\x01\x00\x24"
    assert said["tls-3-on-443"][:3] == b"\x16\x03\x03"
    assert said["tls-1-3-on-record"][:3] == b"\x16\x03\x04"
    assert len(said["tls-wrong-length"]) == 41
    assert said["tls-wrong-length"][3:5] == b"\x00\x25"
    assert [len(said[step]) for step in ("dns-11-bytes", "http-7-bytes", "tls-40-bytes")] == [11, 7, 40]


@pytest.mark.parametrize("family", FAMILIES)
def test_server_goes_on_while_the_client_is_silenced(finished_run: FinishedRun, family: int) -> None:
    """The first part and its answer pass, the second part never does while it is repeated; the server's packets do."""
    connection = finished_run("iran-filter").connection("unknown", family)
    first, *rest = with_data(passages(connection))
    assert (first, rest[0]) == (True, False)
    assert_all_pass(passages(connection, "server"))
    assert connection.first_data("server").packet.payload == connection.first_data().packet.payload


@pytest.mark.parametrize("family", FAMILIES)
def test_each_packet_starts_the_minute_anew(finished_run: FinishedRun, family: int) -> None:
    """Packets that come more often than the time are dropped for longer than it; after a longer pause they pass."""
    run = finished_run("iran-filter")
    duration_s = DURATION_S * run.result["time_scale"]
    sent = passages(run.connection("timer", family))
    assert [passed for _, passed in sent] == [True, False, *[False] * 4, True, True]
    times_s = [seen.time_ns / 1e9 for seen, _ in sent]
    assert times_s[5] - times_s[1] > 2 * duration_s
    assert max(b - a for a, b in pairwise(times_s[1:6])) < duration_s
    assert times_s[6] - times_s[5] > duration_s
