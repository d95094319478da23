"""Rules, their actions, residuals, and how a box reads TCP."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from middlebox.dissect import HttpReading, QuicReading
from middlebox.engine import Engine
from middlebox.flow import Direction
from middlebox.look import Look, Quantiles
from middlebox.profile import (
    Deployment,
    Drop,
    DropScope,
    KeyPart,
    Log,
    Overlap,
    Phase,
    Reassembly,
    Reset,
    SecondSyn,
    StateFrom,
    Towards,
)
from tests.unit.talk import Talk, kinds
from tests.unit.yaml_files import RULES, profile


def test_rule_with_everything_is_read(tmp_path: Path) -> None:
    """Actions in order, chance, direction, and who stays punished."""
    [rule] = profile(
        tmp_path,
        """
rules:
  - name: a
    when: tcp.dstport == 25
    direction: server-to-client
    probability: 0.882
    do: [log, {reset: {towards: client}}, drop, {drop: flow}, {drop: direction}]
    residual: {key: [client_ip, server_ip, server_port], for: 3min, refresh: true, capacity: 10, do: [drop]}
""",
    ).rules
    assert rule.do == (
        Log(), Reset(Towards.CLIENT, Look()), Drop(DropScope.PACKET), Drop(DropScope.FLOW), Drop(DropScope.DIRECTION),
    )  # fmt: skip
    assert (rule.probability, rule.direction) == (0.882, Direction.SERVER_TO_CLIENT)
    assert rule.residual is not None
    assert rule.residual.key == (KeyPart.CLIENT_IP, KeyPart.SERVER_IP, KeyPart.SERVER_PORT)
    assert (rule.residual.duration_ns, rule.residual.refresh, rule.residual.capacity) == (
        180 * 10**9,
        True,
        10,
    )
    assert rule.residual.do == (Drop(),)


def test_tcp_knobs_are_read(tmp_path: Path) -> None:
    """Each knob, under its name in the file, is set to something else than its default."""
    tcp = profile(
        tmp_path,
        f"""
tcp: {{state: synack, handshake: true, reassembly: none, overlap: last, check_checksum: true, check_ack: true,
      check_data_offset: false, end_on_rst: false, end_on_fin: true, buffer: 4KiB, idle: 5min, max_flows: 10,
      join_tls_records: false, second_syn: resync, resync_on_rst: 0.2, resync_on_refusal: 0.5}}
{RULES}""",
    ).tcp
    assert (tcp.state_from, tcp.reassembly, tcp.overlap) == (StateFrom.SYNACK, Reassembly.NONE, Overlap.LAST)
    assert (tcp.handshake, tcp.checks_checksum, tcp.checks_ack, tcp.checks_data_offset) == (
        True,
        True,
        True,
        False,
    )
    assert (tcp.ends_on_rst, tcp.ends_on_fin, tcp.join_tls_records) == (False, True, False)
    assert (tcp.second_syn, tcp.resync_on_rst, tcp.resync_on_refusal) == (SecondSyn.RESYNC, 0.2, 0.5)
    assert (tcp.buffer_bytes, tcp.idle_ns, tcp.max_flows) == (4096, 300 * 10**9, 10)


FORBIDDEN_REQUEST = b"GET /ultrasurf HTTP/1.1\r\nHost: blocked\r\n\r\n"


def test_residual_that_takes_a_while_is_read(tmp_path: Path) -> None:
    """A constant, or a distribution by its published quantiles (QUIC25); none unless it is written."""
    rules = profile(
        tmp_path,
        """
rules:
  - {name: a, when: tcp, do: [log], residual: {key: [client_ip], for: 60s, after: 1s, do: [log]}}
  - name: b
    when: tcp
    do: [log]
    residual: {key: [client_ip], for: 60s, after: {quantiles: {0: 1ms, 100: 2ms}}, do: [log]}
  - {name: c, when: tcp, do: [log], residual: {key: [client_ip], for: 60s, do: [log]}}
""",
    ).rules
    assert [rule.residual.after for rule in rules if rule.residual] == [
        10**9, Quantiles(((0.0, 10**6), (1.0, 2 * 10**6))), 0,
    ]  # fmt: skip


def test_how_it_reads_http_is_read(tmp_path: Path) -> None:
    """All keys are optional; sizes are written as everywhere, and each value has its source."""
    text = "http: {first_request_only: true, uri_limit: 2048, header_name_limit: 64, crlf_only: true}\n"
    found = profile(tmp_path, text + RULES)
    assert found.http == HttpReading(
        first_request_only=True, uri_bytes=2048, header_name_limit=64, crlf_only=True
    )
    assert found.provenance["http.uri_limit"] == "chosen"
    assert profile(tmp_path, "http: {uri_limit: 2KiB}\n" + RULES).http == HttpReading(uri_bytes=2048)
    assert profile(tmp_path, RULES).http == HttpReading()


@pytest.mark.parametrize(
    ("knob", "said"),
    [
        ("first_request_only: true", b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n" + FORBIDDEN_REQUEST),
        ("uri_limit: 2048", b"GET /" + b"x" * 2048 + b"ultrasurf HTTP/1.1\r\nHost: blocked\r\n\r\n"),
        ("header_name_limit: 64", b"GET /ultrasurf HTTP/1.1\r\n" + b"x" * 64 + b": y\r\nHost: blocked\r\n\r\n"),
        ("crlf_only: true", FORBIDDEN_REQUEST.replace(b"\r", b"")),
    ],
)  # fmt: skip
def test_box_with_an_http_knob_misses_what_another_one_sees(knob: str, said: bytes, tmp_path: Path) -> None:
    """Each knob of a profile is an evasion (Khattak13; Harrity22, Rambert; GFWREV), and changes nothing else."""
    rules = """
rules:
  - name: forbidden
    when: tcp.dstport == 80 and http.host == "blocked" and http.request.uri contains "ultrasurf"
    do: [log]
"""

    def sees(text: str, said: bytes) -> bool:
        deployment = Deployment("test", (Phase(0, profile(tmp_path, text)),))
        talk = Talk(Engine(deployment, Random(1), 0), server_port=80).connect()
        return "rule_matched" in kinds(talk.client_sends(said))

    with_knob = f"http: {{{knob}}}{rules}"
    assert sees(rules, said)
    assert not sees(with_knob, said)
    assert sees(with_knob, FORBIDDEN_REQUEST)


def test_how_it_reads_quic_is_read(tmp_path: Path) -> None:
    """All keys are optional."""
    assert profile(
        tmp_path, "quic: {join_initials: false, patience: 1, opens_server: false}\n" + RULES
    ).quic == (QuicReading(join_initials=False, patience=1, opens_server=False))
    assert profile(tmp_path, RULES).quic == QuicReading()
