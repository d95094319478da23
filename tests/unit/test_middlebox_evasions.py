"""The nine tricks that are named most often, on every box of the scenario tcp-knobs: the full table of its README.

The packets are those that the scenario sends, built by the lab's own client, and go past the box without any network.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

import pytest

from lab.clients import tcp_probe_child as child
from middlebox.engine import Engine
from middlebox.flow import Side
from middlebox.load import load_deployment
from middlebox.profile import Deployment
from scenarios.load import SCENARIOS, load_scenario
from scenarios.model import Step, Together
from tests.e2e.fields.test_tcp_knobs import table as table_on_the_wire
from tests.unit.tls_bytes import client_hello, record

FOLDER = SCENARIOS / "tcp-knobs"
BOXES = tuple(sorted(path.stem for path in (FOLDER / "boxes").glob("*.yaml")))
ENDS = {4: ("192.0.2.11", "203.0.113.80"), 6: ("2001:db8:1::11", "2001:db8:3::80")}
CLIENT_PORT = 40_000
STEP_NS = 1_000_000
_WORDS = re.compile(r"^\| `([a-z-]+)`((?: \| (?:seen|missed)){9}) \|$", re.MULTILINE)


def full_table() -> dict[tuple[str, str], bool]:
    """(box, trick) -> whether it is seen, of the README's table of nine columns."""
    text = (FOLDER / "README.md").read_text()
    [heading] = re.findall(r"^\| box \|((?: `[a-z0-9-]+` \|){9})$", text, re.MULTILINE)
    tricks = re.findall("`([a-z0-9-]+)`", heading)
    rows = [(box, cells.split(" | ")[1:]) for box, cells in _WORDS.findall(text)]
    return {
        (box, trick): word == "seen" for box, words in rows for trick, word in zip(tricks, words, strict=True)
    }


TABLE = full_table()


@cache
def steps_of_base() -> dict[str, Step]:
    """Trick -> how the scenario plays it on the first box."""
    items = load_scenario("tcp-knobs").steps
    steps = [step for item in items if isinstance(item, Together) for step in item.steps]
    return {step.name.removeprefix("base."): step for step in steps if step.name.startswith("base.")}


def conversation(step: Step, family: int) -> Iterator[tuple[bytes, Side]]:
    """The packets that the box would see, in order: the handshake, if there is one, and what the client throws."""
    ask, here = step.ask, ENDS[family]
    ends = (CLIENT_PORT, step.port or 80)

    def made(packet: dict[str, Any], seq: int, ack: int, payload: bytes, side: Side) -> tuple[bytes, Side]:
        flags = sum(child.FLAGS[letter] for letter in packet["flags"])
        back = side is Side.OUTSIDE
        segment = child.tcp_segment(packet, ends[::-1] if back else ends, seq, ack, flags, payload)
        source, destination = here[::-1] if back else here
        return child.ip_packet(source, destination, segment, packet, child.FIRST_IP_ID), side

    first, server = child.ISN, child.ACK
    if ask.get("handshake"):
        yield made({"flags": "S"}, first - 1, 0, b"", Side.INSIDE)
        yield made({"flags": "SA"}, server - 1, first, b"", Side.OUTSIDE)
        yield made({"flags": "A"}, first, server, b"", Side.INSIDE)
    seq = first
    for packet in ask["packets"]:
        payload = packet.get("payload", "").encode("latin-1")
        if packet.get("content") == "tls":
            payload = child.in_records(record(22, client_hello(ask["host"])), ask.get("records", []))
        yield made(packet, first + packet["seq"] if "seq" in packet else seq, server, payload, Side.INSIDE)
        if "seq" not in packet:
            seq += len(payload) + ("S" in packet["flags"]) + ("F" in packet["flags"])


@cache
def box_of(name: str) -> Deployment:
    return load_deployment(FOLDER / "boxes" / f"{name}.yaml")


def is_seen(box: str, trick: str, family: int) -> bool:
    """Whether the box forges anything."""
    engine = Engine(box_of(box), Random(1), 0)
    packets = conversation(steps_of_base()[trick], family)
    return any(engine.handle(data, at * STEP_NS, side).forged for at, (data, side) in enumerate(packets))


@pytest.mark.parametrize("family", sorted(ENDS))
@pytest.mark.parametrize(("box", "trick"), sorted(TABLE))
def test_trick_in_full_table_is_seen_or_missed(box: str, trick: str, family: int) -> None:
    """Every cell, whether the knob has to do with the trick or not."""
    assert is_seen(box, trick, family) == TABLE[box, trick]


def test_full_table_has_every_box_and_agrees_with_the_one_that_is_played() -> None:
    """Seventeen boxes, nine tricks; where both tables have a cell it says the same."""
    assert {box for box, _ in TABLE} == set(BOXES)
    assert len(TABLE) == 9 * len(BOXES)
    played = table_on_the_wire()
    assert {cell: played[cell] for cell in TABLE if cell in played}.items() <= TABLE.items()
    assert {trick for _, trick in TABLE} <= {trick for box, trick in played if box == "base"}
