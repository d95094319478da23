"""The engine alone, one core: a mixed capture of mostly undecided flows through `middlebox.replay`; several boxes too.

Packets a second with few and with very many connections in the table, and the memory that these need.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from struct import pack

from middlebox.packet import ACK, PSH, SYN, tcp_segment
from scenarios.bench.figures import Figure

SERVER = bytes([203, 0, 113, 25])
MANY_FLOWS = 100_000
"""As many connections at once as the issue asks for; the few are a hundredth of them."""

PROFILE = """\
profile: bench-undecided
title: Everything has to be watched to its last byte
placement: on-path
source: chosen
rules:
  - name: sni
    when: tls.handshake.extensions_server_name contains "blocked"
    do: [{reset: {towards: both}}]
  - name: starttls
    when: tcp.dstport == 587 and smtp.command_line matches "^STARTTLS"
    do: [{reset: {towards: both}}]
  - name: keyword
    when: tcp.payload contains "ultrasurf"
    do: [{reset: {towards: both}}]
"""
"""The keyword keeps every flow undecided for ever; the other two keep their dissectors busy."""

_MEASURED = """
import json, sys, time
from pathlib import Path
from random import Random
from middlebox.engine import Engine
from middlebox.load import load_deployment
from middlebox.replay import replay_packets
from middlebox.stack import Stack
source, profiles = Path(sys.argv[1]), sys.argv[2:]
engines = [Engine(load_deployment(profile), Random(1), 0) for profile in profiles]
def own_bytes():
    # Anonymous memory: the capture itself is mapped from its file.
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))
before, start = own_bytes(), time.perf_counter()
packets = replay_packets(source, engines[0] if len(engines) == 1 else Stack(engines))
seconds = time.perf_counter() - start
flows = max(engine.flows for engine in engines)
print(json.dumps({"packets": packets, "seconds": seconds, "flows": flows, "bytes": own_bytes() - before}))
"""


def measure_engine(
    run_dir: Path,
    profiles: str,
    *,
    flows: int,
    rate_bar: float,
    flat_bar: float,
    memory_bar_mb: float,
    rounds: int,
) -> list[Figure]:
    """Packets a second, flatness and memory. Few and many connections are measured in turn, each in a fresh process.

    profiles: a name, or several with + between; empty for the box that watches everything. flows: so many are many.
    """
    undecided = run_dir / "bench-undecided.yaml"
    undecided.write_text(PROFILE)
    boxes = profiles.split("+") if profiles else [str(undecided)]
    few, many = run_dir / "few.pcap", run_dir / "many.pcap"
    write_capture(few, flows=flows // 2, at_once=flows // 100)
    write_capture(many, flows=flows, at_once=flows)
    pairs = [(_replay(few, boxes), _replay(many, boxes)) for _ in range(rounds)]
    rates = [(f["packets"] / f["seconds"], m["packets"] / m["seconds"]) for f, m in pairs]
    rate = sorted(few_rate for few_rate, _ in rates)[rounds // 2]
    flatness = sorted(many_rate / few_rate for few_rate, many_rate in rates)[rounds // 2]
    memory_mb = max(m["bytes"] for _, m in pairs) / 1e6
    details = {"per_s_few_and_many": rates, "flows": pairs[0][1]["flows"]}
    for path in (few, many):
        path.unlink()
    of = f", {profiles}" if profiles else ""
    names = ("engine alone, one core", f"engine with {flows:,} flows", f"memory of {flows:,} flows")
    units = ("packets/s", f"of the rate with {flows // 100:,}", "MB")
    values, bars = (rate, flatness, memory_mb), (rate_bar, flat_bar, memory_bar_mb)
    return [
        Figure(name + of, value, unit, bar, smaller_is_better=unit == "MB", details=details)
        for name, value, unit, bar in zip(names, values, units, bars, strict=True)
    ]


def _replay(capture: Path, profiles: list[str]) -> dict[str, float]:
    argv = [sys.executable, "-c", _MEASURED, str(capture), *profiles]
    done = subprocess.run(argv, check=True, capture_output=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def write_capture(path: Path, *, flows: int, at_once: int) -> None:
    """A pcap of whole conversations (TLS, SMTP, HTTP in equal parts), `at_once` of them packet by packet."""
    with path.open("wb") as file:
        file.write(pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 101))  # nanoseconds, LINKTYPE_RAW
        number = 0
        for first in range(0, flows, at_once):
            talks = [_conversation(flow) for flow in range(first, min(first + at_once, flows))]
            for turn in zip(*talks, strict=True):
                for data in turn:
                    number += 1
                    seconds, ns = divmod(number * 1000, 10**9)
                    file.write(pack("<IIII", seconds, ns, len(data), len(data)) + data)


def _conversation(number: int) -> Iterator[bytes]:
    client = bytes([192, 0, 2, number // 50_000 + 1])
    port = 10_000 + number % 50_000
    server_port, asks, answers = _TALKS[number % len(_TALKS)]
    seqs = [1000, 9000]

    def send(side: int, flags: int, payload: bytes = b"") -> bytes:
        ends = (client, SERVER, port, server_port) if side == 0 else (SERVER, client, server_port, port)
        data = tcp_segment(
            src=ends[0], dst=ends[1], sport=ends[2], dport=ends[3], seq=seqs[side], ack=seqs[1 - side], flags=flags,
            window=500, ttl=60, payload=payload,
        )  # fmt: skip
        seqs[side] += len(payload) + bool(flags & SYN)
        return data

    yield send(0, SYN)
    yield send(1, SYN | ACK)
    yield send(0, ACK)
    for ask, answer in zip(asks, answers, strict=True):
        yield send(0, ACK | PSH, ask)
        yield send(1, ACK | PSH, answer)
        yield send(0, ACK)


def _hello(name: bytes) -> bytes:
    server_name = pack("!HBH", len(name) + 3, 0, len(name)) + name
    padding = pack("!HH", 21, 300) + bytes(300)
    extensions = pack("!HH", 0, len(server_name)) + server_name + padding
    body = (
        b"\x03\x03"
        + bytes(32)
        + b"\0"
        + pack("!HH", 2, 0x1301)
        + b"\x01\0"
        + pack("!H", len(extensions))
        + extensions
    )
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


_TALKS = (
    (443, (_hello(b"www.example.org"), b"\x17\x03\x03\x01\x00" + bytes(256)),
     (b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(116), b"\x17\x03\x03\x04\x00" + bytes(1024))),
    (587, (b"EHLO client.example\r\n", b"MAIL FROM:<a@b.example>\r\n"), (b"220 mail.example ESMTP\r\n", b"250 ok\r\n")),
    (80, (b"GET / HTTP/1.1\r\nHost: www.example.org\r\n\r\n", b"GET /2 HTTP/1.1\r\nHost: www.example.org\r\n\r\n"),
     (b"HTTP/1.1 200 OK\r\n" + b"x" * 900, b"y" * 1400)),
)  # fmt: skip
"""(server port, what the client says, what the server answers)"""
