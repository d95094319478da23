"""The two-ended detector: forged resets are found, genuine ones are not, whatever the two have in common."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scenarios.captures import Captured
from scenarios.detectors.two_ended import Finding, find_unsent_resets, main, own_addresses
from tests.unit.staged import BEGIN_NS, MS, Stage, handshake, starttls_block, write_pcap


def find(stage: Stage, *, server_clock_ahead_ms: float = 0.0) -> list[Finding]:
    stage.sorted()
    ahead = round(server_clock_ahead_ms * MS)
    server = [replace(c, time_ns=c.time_ns + ahead) for c in stage.captures["mail"]]
    return find_unsent_resets(stage.captures["sim1"], server)


def established() -> Stage:
    stage = Stage()
    handshake(stage)
    stage.send("client", "PA", b"hello")
    stage.send("server", "PA", b"hello yourself")
    return stage


@pytest.mark.parametrize("ends", [{}, {"client": "2001:db8:1::11", "server": "2001:db8:3::25"}])
def test_two_ended_incident_finds_one_reset_towards_each_end(ends: dict[str, str]) -> None:
    """The incident of 2012, over both IP versions: each end received a RST that the other never sent."""
    stage = starttls_block(**ends)
    findings = find(stage)
    assert sorted(f.towards for f in findings) == ["client", "server"]
    assert {(f.client, f.server, f.server_port) for f in findings} == {(stage.client, stage.server, 587)}
    forged = {event["flow"]["community_id"] for event in stage.events}
    assert {f.community_id for f in findings} == forged


def test_two_ended_genuine_resets_are_none() -> None:
    """A client that gives up and a server that refuses are not middleboxes."""
    stage = established()
    stage.send("client", "R")
    stage.send("server", "RA")
    assert find(stage) == []


def test_two_ended_genuine_reset_lost_on_the_way_is_none() -> None:
    """A RST that was sent and never arrived is no finding."""
    stage = established()
    stage.send("server", "R", until="box-outside")
    assert find(stage) == []


def test_two_ended_genuine_reset_beside_a_forged_one_is_told_apart() -> None:
    """Only the forged one of two different RSTs is found."""
    stage = established()
    trigger = stage.send("client", "PA", b"bad word", wait_ms=0)
    stage.forge("client", trigger, at_ms=stage.time_ms + 15.3)
    stage.time_ms += 60
    stage.send("server", "RA")
    (finding,) = find(stage)
    assert (finding.towards, finding.flags) == ("client", "R")


@pytest.mark.parametrize("genuine_leaves_ms", [-30.0, 5.0, 60.0])
def test_two_ended_forged_reset_with_the_numbers_of_a_genuine_one_is_found(genuine_leaves_ms: float) -> None:
    """Same identity in every bit: time tells them apart, whichever comes first."""
    stage = established()
    trigger = stage.send("client", "PA", b"bad word", wait_ms=0)
    at_box_ms = stage.time_ms + 15.3
    twin = stage.forge("client", trigger, at_ms=at_box_ms)
    stage.travel(twin, ("mail", "box-outside", "box-inside", "sim1"), at_ms=at_box_ms + genuine_leaves_ms)
    (finding,) = find(stage)
    assert finding.time_ns == BEGIN_NS + round((at_box_ms + 15.0) * MS)


def test_two_ended_repeated_genuine_reset_is_explained_as_often_as_it_was_sent() -> None:
    """Three alike sent, three arrive: none forged. Three arrive of two: one forged."""
    stage = established()
    reset = stage.packet("server", "R", ip_id=0)
    for n in range(3):
        stage.travel(reset, ("mail", "box-outside", "box-inside", "sim1"), at_ms=stage.time_ms + n)
    assert find(stage) == []
    stage.captures["mail"] = [c for c in stage.captures["mail"] if not c.packet.flags & 4][:99] + [
        c for c in stage.captures["mail"] if c.packet.flags & 4
    ][:2]
    assert len(find(stage)) == 1


def test_two_ended_retransmissions_do_not_disturb() -> None:
    """Data sent twice and arrived once leaves the clocks and the verdict alone."""
    stage = established()
    data = stage.packet("client", "PA", b"again and again")
    stage.travel(data, ("sim1", "box-inside"))
    stage.travel(data, ("sim1", "box-inside", "box-outside", "mail"), at_ms=stage.time_ms + 200)
    stage.time_ms += 300
    stage.send("client", "R")
    assert find(stage) == []


@pytest.mark.parametrize("ahead_ms", [-3_600_000.0, -50.0, 17.0, 5_000.0])
def test_two_ended_clocks_that_differ_do_not_disturb(ahead_ms: float) -> None:
    """The captures of two machines whose clocks differ give the same findings."""
    stage = starttls_block()
    stage.time_ms += 100
    stage.send("client", "R")
    findings = find(stage, server_clock_ahead_ms=ahead_ms)
    assert sorted(f.towards for f in findings) == ["client", "server"]


def test_two_ended_connection_joined_in_the_middle_is_judged() -> None:
    """Without the handshake, the lower port is the server's."""
    stage = starttls_block()
    for place in ("sim1", "mail"):
        stage.captures[place] = [c for c in stage.captures[place] if not c.packet.flags & 2]
    assert {(f.towards, f.server_port) for f in find(stage)} == {("client", 587), ("server", 587)}


def test_two_ended_peer_without_a_capture_is_not_judged() -> None:
    """A RST from a server whose capture is not at hand proves nothing."""
    stage = starttls_block()
    other = starttls_block(server="203.0.113.80", client_port=50_000)
    client: list[Captured] = sorted(stage.captures["sim1"] + other.captures["sim1"], key=lambda c: c.time_ns)
    findings = find_unsent_resets(client, stage.captures["mail"])
    assert {f.server for f in findings} == {stage.server}


def test_two_ended_path_is_known_from_connections_that_the_other_end_opened() -> None:
    """A reset is not too fast because the only other packet of its connection was held up on a busy machine."""
    usual = established()
    inbound = Stage(client=usual.server, server=usual.client, client_port=50_001, server_port=443)
    inbound.send("client", "S")
    held_up = inbound.captures["mail"]
    held_up[0] = replace(held_up[0], time_ns=held_up[0].time_ns + 200 * MS)
    inbound.time_ms += 300
    inbound.send("client", "R")
    sim1 = usual.captures["sim1"] + inbound.captures["mail"]
    mail = usual.captures["mail"] + inbound.captures["sim1"]
    ends = {"client_addresses": [usual.pack(usual.server)], "server_addresses": [usual.pack(usual.client)]}
    assert find_unsent_resets(mail, sim1, **ends) == []
    assert find_unsent_resets(inbound.captures["sim1"], inbound.captures["mail"], **ends) != []


def test_two_ended_short_path_does_not_blame_a_reset_that_was_quick() -> None:
    """Where a journey takes microseconds, one may take half as long as all others."""
    stage = established()
    stage.send("client", "R")
    quick = {"sim1": list(stage.captures["sim1"]), "mail": []}
    for number, captured in enumerate(stage.captures["mail"]):
        from_client = captured.packet.src == stage.pack(stage.client)
        sent = captured.time_ns - (35 * MS + MS // 100 if from_client else 0)  # no way at all
        late = 3_000 if captured.packet.flags & 4 else 9_000 + number
        quick["mail"].append(replace(captured, time_ns=sent + late))
    assert find_unsent_resets(quick["sim1"], quick["mail"]) == []


def test_two_ended_reset_that_passed_unread_is_not_blamed_for_being_quick() -> None:
    """A busy box holds up all that it reads, 5 ms at least; a RST passes it unread, at once."""
    stage = established()
    stage.send("client", "R")
    held_up = {"sim1": list(stage.captures["sim1"]), "mail": []}
    for captured in stage.captures["mail"]:
        from_client = captured.packet.src == stage.pack(stage.client)
        sent = captured.time_ns - (35 * MS + MS // 100 if from_client else 0)
        late = MS // 10 if captured.packet.flags & 4 else 5 * MS
        held_up["mail"].append(replace(captured, time_ns=sent + late))
    assert find_unsent_resets(held_up["sim1"], held_up["mail"]) == []


def test_two_ended_reset_that_was_too_quick_for_a_long_path_is_found() -> None:
    """Sent and lost, and its twin made 10 ms later near the other end: no packet crosses 135 ms of path in 10."""
    stage = established()
    far = {"sim1": list(stage.captures["sim1"]), "mail": []}
    for captured in stage.captures["mail"]:
        from_client = captured.packet.src == stage.pack(stage.client)
        far["mail"].append(
            replace(captured, time_ns=captured.time_ns + (100 * MS if from_client else -100 * MS))
        )
    stage.send("client", "R", until="sim1")
    sent = stage.captures["sim1"][-1]
    far["sim1"].append(sent)
    far["mail"].append(replace(sent, number=len(far["mail"]) + 1, time_ns=sent.time_ns + 10 * MS))
    (finding,) = find_unsent_resets(far["sim1"], far["mail"])
    assert finding.towards == "server"


def test_two_ended_own_addresses_are_in_every_packet() -> None:
    """A host that spoke with two peers is recognised by what its packets have in common."""
    one, two = starttls_block(), starttls_block(server="203.0.113.80")
    packets = one.captures["sim1"] + two.captures["sim1"]
    assert own_addresses(packets) == {Stage.pack(one.client)}


def test_two_ended_command_writes_ipv6_addresses_so_that_the_port_can_be_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In brackets (RFC 5952 section 6), as the report has them."""
    stage = starttls_block(client="2001:db8:1::11", server="2001:db8:3::25")
    files = [write_pcap(tmp_path / f"{place}.pcap", stage.captures[place]) for place in ("sim1", "mail")]
    assert main([str(file) for file in files]) == 1
    assert "[2001:db8:1::11]:45678 to [2001:db8:3::25]:587: RST" in capsys.readouterr().out


def test_two_ended_command_prints_findings_and_exits_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a program: findings as text or JSON, exit status 1; none: 0; bad files: 2."""
    stage = starttls_block()
    client = str(write_pcap(tmp_path / "client.pcap", stage.captures["sim1"]))
    server = str(write_pcap(tmp_path / "server.pcap", stage.captures["mail"]))
    assert main([client, server]) == 1
    assert "RST towards client, frame 9" in capsys.readouterr().out
    assert main([client, server, "--json"]) == 1
    assert [f["towards"] for f in json.loads(capsys.readouterr().out)] == ["client", "server"]
    assert main([client, client]) == 0
    assert main([client]) == 2
    assert main([client, str(tmp_path / "none.pcap")]) == 2
    assert "expected a capture file" in capsys.readouterr().err
