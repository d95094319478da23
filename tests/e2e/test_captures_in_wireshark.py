"""What a run leaves opens in Wireshark: comments on forged packets, the rule's own filter shows the trigger."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

from middlebox.packet import ACK, tcp_segment
from tests.e2e.conftest import Terminal

TSHARK = shutil.which("tshark")
CHECKING = ("-o", "tcp.check_checksum:TRUE", "-o", "ip.check_checksum:TRUE")
"""Options with which tshark looks at checksums: by itself it believes them all."""
WRONG_CHECKSUM = "ip.checksum.status == 0 or tcp.checksum.status == 0"


def frames(capture: Path, display_filter: str, *options: str) -> list[tuple[int, str]]:
    """(frame number, comment) of the packets that a display filter shows, by tshark. options: more of tshark's."""
    assert TSHARK is not None
    argv = [
        TSHARK,
        *options,
        "-r",
        str(capture),
        "-Y",
        display_filter,
        "-T",
        "fields",
        "-e",
        "frame.number",
        "-e",
        "frame.comment",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return [(int(row[0]), row[1] if len(row) > 1 else "") for row in rows]


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed; make setup-servers installs it")
def test_captures_of_a_run_say_in_wireshark_what_was_forged_and_what_set_it_off(terminal: Terminal) -> None:
    """Comments name the rule, the printed filter finds the trigger and nothing else, frames are those of the ladder."""
    done = terminal.type("run", "starttls-block", "--no-controls", "--json")
    result = json.loads(done.stdout)
    captures = terminal.runs / "latest" / "captures"
    (rule,) = result["filters"]
    steps = [step for play in result["worlds"][0]["plays"] for step in play["steps"]]
    rows = [row for step in steps for flow in step["flows"] for row in flow["ladder"]]
    for host in ("sim1", "mail", "box-inside", "box-outside"):
        forged = frames(captures / f"{host}.pcapng", 'frame.comment contains "FORGED by tmobile-uk-2012/"')
        assert [n for n, _ in forged] == sorted(
            row["seen"][host]["frame"] for row in rows if row["forged_by"] and host in row["seen"]
        )
        assert len(forged) == 2
        triggers = frames(captures / f"{host}.pcapng", rule["when"])
        assert [n for n, _ in triggers] == sorted(
            row["seen"][host]["frame"] for row in rows if row["triggered"]
        )
        assert all(
            comment.startswith(f"TRIGGER of rule tmobile-uk-2012/{rule['rule']}") for _, comment in triggers
        )
    everything = frames(captures / "sim1.pcapng", "frame")
    assert [n for n, _ in everything] == list(range(1, len(everything) + 1))


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed; make setup-servers installs it")
def test_captures_are_ordered_by_time_and_complete(terminal: Terminal) -> None:
    """No packet of a capture comes before its predecessor, and no checksum is unfinished."""
    assert terminal.type("run", "smtps-block", "--no-controls", "--family", "4").returncode == 0
    for capture in (terminal.runs / "latest" / "captures").glob("*.pcapng"):
        assert frames(capture, "frame.time_delta < 0") == []
        assert frames(capture, WRONG_CHECKSUM, *CHECKING) == []


@pytest.mark.skipif(TSHARK is None, reason="tshark is not installed; make setup-servers installs it")
def test_wrong_checksums_would_be_found(tmp_path: Path) -> None:
    """Of three segments one is right, one has a wrong checksum in IP and one in TCP: tshark names these two."""
    segment = tcp_segment(
        src=b"\xc0\0\x02\x0b", dst=b"\xcb\0\x71\x19", sport=40000, dport=587, seq=1, ack=1, flags=ACK, window=500,
        ttl=64, payload=b"STARTTLS\r\n",
    )  # fmt: skip
    ip_checksum, tcp_checksum = 10, 20 + 16
    spoilt = [
        segment[:at] + bytes([segment[at] ^ 0xFF]) + segment[at + 1 :] for at in (ip_checksum, tcp_checksum)
    ]
    capture = tmp_path / "spoilt.pcap"
    wrpcap(str(capture), [Ether(type=0x0800) / packet for packet in (segment, *spoilt)])
    assert [number for number, _ in frames(capture, WRONG_CHECKSUM, *CHECKING)] == [2, 3]
