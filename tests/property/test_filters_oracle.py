"""Our filters against tshark's, packet for packet: generated ones, chosen ones, and the named differences."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.packet import Packet as ScapyPacket
from scapy.utils import PcapWriter

from middlebox.dissect import DEFAULT_PORTS, Fields, dissector_for
from middlebox.filters import FilterError, Origin, compile_filter
from middlebox.flow import Direction
from middlebox.packet import decode
from tests.property.filter_soup import FilterSoup, packets
from tests.unit.filter_kit import Flow

LINKTYPE_RAW = 101

# One tap for each filter: tshark starts once for hundreds of them.
TAPS = """
for line in io.lines(os.getenv("FILTERS")) do
  local number, filter = line:match("^(%d+) (.*)$")
  local ok, tap = pcall(Listener.new, "frame", filter)
  if ok then
    function tap.packet(pinfo) print("MATCH", number, pinfo.number) end
  else
    print("REFUSED", number)
  end
end
"""

pytestmark = pytest.mark.tshark_4_0


def tshark(
    filters: Sequence[str], frames: Sequence[bytes], folder: Path, options: Sequence[str] = ()
) -> list[list[int] | None]:
    """For each filter the numbers (from 0) of the frames that it matches, None if tshark refuses it."""
    capture = folder / "in.pcap"
    with PcapWriter(str(capture), linktype=LINKTYPE_RAW) as writer:
        for frame in frames:
            writer.write(frame)
    return tshark_on(capture, filters, folder, options)


def tshark_on(
    capture: Path, filters: Sequence[str], folder: Path, options: Sequence[str] = ()
) -> list[list[int] | None]:
    """The same for the frames of a capture file. folder: for what it needs."""
    (folder / "taps.lua").write_text(TAPS)
    (folder / "filters").write_text("".join(f"{n} {text}\n" for n, text in enumerate(filters)))
    done = subprocess.run(
        ["tshark", "-q", "-r", str(capture), "-X", "lua_script:taps.lua", *options],
        cwd=folder,
        env={**os.environ, "FILTERS": "filters", "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[list[int] | None] = [[] for _ in filters]
    for line in done.stdout.splitlines():
        word, _, rest = line.partition("\t")
        numbers = [int(number) for number in rest.split("\t") if number.isdigit()]
        if word == "REFUSED":
            found[numbers[0]] = None
        elif word == "MATCH":
            matched = found[numbers[0]]
            assert matched is not None
            matched.append(numbers[1] - 1)
    return found


def ours(text: str, frames: Sequence[bytes], fields: Sequence[Fields] | None = None) -> list[int]:
    """The numbers of the frames that the filter matches, each as a packet of its own."""
    matches = compile_filter(text).matches
    decoded = [decode(frame) for frame in frames]
    assert None not in decoded
    return [
        n for n, p in enumerate(decoded) if p is not None and matches(p, Flow(), fields[n] if fields else {})
    ]


def disagreements(filters: Sequence[str], frames: Sequence[bytes], folder: Path) -> list[str]:
    """One line for each filter on which we differ."""
    different = []
    for text, theirs in zip(filters, tshark(filters, frames, folder), strict=True):
        mine = ours(text, frames)
        if mine != theirs:
            different.append(f"{text}\n  ours {mine}\n  tshark {theirs}")
    return different


def soup(seed: int, filters: int, frames: int) -> tuple[list[str], list[bytes]]:
    random = Random(seed)
    generated = [FilterSoup(random, Origin.HEADER).filter() for _ in range(filters)]
    return generated, [bytes(packet) for packet in packets(random, frames)]


def test_generated_filters_match_the_packets_that_tshark_says(tmp_path: Path) -> None:
    """Whatever is written about headers and payload, Wireshark shows the packets that set a rule off."""
    filters, frames = soup(seed=1, filters=600, frames=80)
    assert disagreements(filters, frames, tmp_path) == []


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(100, 130))
def test_many_generated_filters_match_the_packets_that_tshark_says(seed: int, tmp_path: Path) -> None:
    """The same with 60,000 filters."""
    filters, frames = soup(seed, filters=2000, frames=200)
    assert disagreements(filters, frames, tmp_path) == []


class Difference(NamedTuple):
    """A filter on which we and tshark 4.0.17 do not agree, and why that is right. None: refused."""

    text: str
    frames: list[ScapyPacket]
    ours: list[int] | None
    tsharks: list[int] | None
    why: str


_CLIENT = [IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1000, dport=80, seq=1, flags="PA") / b"GET /"]
_RST = [IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1000, dport=80, flags="R") / b"GET /"]
_EMBEDDED = [
    IP(src="10.0.0.9", dst="10.0.0.1") / ICMP(type=3, code=3) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP()
]

DIFFERENCES = [
    Difference("tcp.payload", _RST, [0], [], "to tshark the payload of a RST is the cause of the reset"),
    Difference(
        "ip.dst == 10.0.0.2", _EMBEDDED, [], [0], "the header in an ICMP error is no header of the packet"
    ),
    Difference("udp", _EMBEDDED, [], [0], "nor is the transport header in it"),
    Difference(
        "all tcp.port in {80, 1000}",
        _CLIENT,
        [0],
        [],
        "tshark 4.0 asks of each element whether all ports equal it",
    ),
    Difference(
        "tcp.dstport > tcp.dstport - tcp.srcport",
        _CLIENT,
        [0],
        [],
        "tshark takes -920 on the right for 2**32 - 920",
    ),
    Difference("tcp.port == '\\n'", _CLIENT, [], None, "tshark 4.0 knows the escape in strings only"),
    Difference(
        'tcp.payload[9] contains ""', _CLIENT, [0], [], "no text is in every text, also in an empty one"
    ),
    Difference("tcp.payload[0] == ff", _CLIENT, None, [], "tshark takes ff for a protocol: surely not meant"),
    Difference(
        "tcp.dstport / 0 == 1", _CLIENT, None, [], "a division by zero never matches: surely not meant"
    ),
    Difference(
        "tcp.dstport in {90..80}", _CLIENT, None, [], "an empty range never matches: surely not meant"
    ),
    Difference("tcp.dstport == -1", _CLIENT, None, [], "a port is never negative: surely not meant"),
    Difference("smtp.req.command == EHLO", _CLIENT, None, [], "a mistyped field name would pass as text"),
    Difference('tcp.payload matches "[[:alpha:]]"', _CLIENT, None, [0], "Python reads it as something else"),
    Difference("len(ip.src) == 4", _CLIENT, None, [0], "of text and bytes only: there is nothing to learn"),
]


@pytest.mark.parametrize("case", DIFFERENCES, ids=[case.text for case in DIFFERENCES])
def test_named_difference_is_still_one(case: Difference, tmp_path: Path) -> None:
    """Where we differ from tshark it is known, has a reason, and nothing else hides behind it."""
    frames = [bytes(packet) for packet in case.frames]
    assert tshark([case.text], frames, tmp_path) == [case.tsharks], case.why
    if case.ours is None:
        with pytest.raises(FilterError):
            compile_filter(case.text)
    else:
        assert ours(case.text, frames) == case.ours, case.why


def test_fragment_offset_counts_as_tshark_does(tmp_path: Path) -> None:
    """Fragments come reassembled; one that comes alone shows the same offset as in Wireshark."""
    frames = [bytes(IP(src="10.0.0.1", dst="10.0.0.2", frag=185, proto=17) / b"rest")]
    assert disagreements([f"ip.frag_offset == {n}" for n in (0, 185, 1480)], frames, tmp_path) == []


SESSION = [
    (Direction.SERVER_TO_CLIENT, b"220 mail.example ready\r\n"),
    (Direction.CLIENT_TO_SERVER, b"EHLO sim1.example\r\n"),
    (Direction.SERVER_TO_CLIENT, b"250-mail.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n"),
    (Direction.CLIENT_TO_SERVER, b"mail FROM:<alice@mail.example>\r\n"),
    (Direction.SERVER_TO_CLIENT, b"250 fine\r\n"),
    (Direction.CLIENT_TO_SERVER, b"QUIT\r\n"),
    (Direction.SERVER_TO_CLIENT, b"221 bye\r\n"),
]


def smtp_session() -> tuple[list[bytes], list[Fields]]:
    """The packets of SESSION on port 587, and what our dissector finds in each."""
    dissector = dissector_for(587, frozenset({"smtp"}), DEFAULT_PORTS)
    assert dissector is not None
    frames, found, next_seq = [], [], dict.fromkeys(Direction, 1)
    for direction, payload in SESSION:
        client = direction is Direction.CLIENT_TO_SERVER
        ends = {"src": "10.0.0.1", "dst": "10.0.0.2"} if client else {"src": "10.0.0.2", "dst": "10.0.0.1"}
        ports = {"sport": 40000, "dport": 587} if client else {"sport": 587, "dport": 40000}
        segment = TCP(**ports, seq=next_seq[direction], ack=next_seq[direction.opposite], flags="PA")
        frames.append(bytes(IP(**ends) / segment / payload))
        next_seq[direction] += len(payload)
        fields: Fields = {}
        dissector.feed(direction, payload, fields)
        found.append(fields)
    return frames, found


SMTP_FILTERS = [
    "smtp", "not smtp", "smtp.req", "!smtp.rsp", "smtp.req.command", 'smtp.req.command == "EHLO"',
    'smtp.req.command == "mail"', 'smtp.req.command == "MAIL"', 'upper(smtp.req.command) == "MAIL"',
    'smtp.req.command != "EHLO"', 'smtp.req.command !== "EHLO"', 'smtp.req.command in {"QUIT", "HELO"}',
    'smtp.req.command > "EHLO"', 'smtp.req.command < "mail"', 'smtp.req.command matches "^(ehlo|mail)$"',
    'smtp.command_line matches "^mail from:<[^>]+>"', 'smtp.command_line contains "sim1"', "smtp.response.code",
    'smtp.command_line == "QUIT\\r\\n"', 'smtp.command_line[0:2] == "EH"', 'smtp.command_line[-2:] == 0d:0a',
    'smtp.req.parameter[5:3] == "<al"', "len(smtp.req.command) == 4", "len(smtp.req.parameter) > 12",
    "smtp.response.code == 250", "smtp.response.code >= 221", "smtp.response.code in {200..220}",
    "smtp.response.code + 1 == 251", "smtp.response.code & 2", "smtp.response.code === 250",
    'smtp.rsp.parameter contains "START"', 'all smtp.rsp.parameter contains "N"', 'lower(smtp.rsp.parameter) == "bye"',
    'smtp and tcp.dstport == 587', 'smtp.req.command == "QUIT" or smtp.response.code == 221',
]  # fmt: skip


def test_filters_on_dissected_fields_match_the_packets_that_tshark_says(tmp_path: Path) -> None:
    """Text, numbers and presence of what the dissectors found compare as in Wireshark."""
    frames, found = smtp_session()
    theirs = tshark(SMTP_FILTERS, frames, tmp_path)
    assert dict(zip(SMTP_FILTERS, theirs, strict=True)) == {
        text: ours(text, frames, found) for text in SMTP_FILTERS
    }


def test_examples_of_the_guide_are_accepted_by_tshark(tmp_path: Path) -> None:
    """What docs/filters.md shows as pasteable, Wireshark takes."""
    guide = (Path(__file__).parents[2] / "docs" / "filters.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```wireshark\n(.*?)^```", guide, flags=re.DOTALL | re.MULTILINE)
    examples = [line for block in blocks for line in block.splitlines()]
    _, frames = soup(seed=1, filters=0, frames=20)
    assert len(examples) > 30
    assert (
        disagreements(
            [text for text in examples if "smtp" not in text and "tls" not in text], frames, tmp_path
        )
        == []
    )
    assert None not in tshark(examples, frames, tmp_path)


def test_generated_filters_are_worth_comparing() -> None:
    """Most of the generated filters match some of the packets and not others."""
    filters, frames = soup(seed=1, filters=200, frames=80)
    telling = [text for text in filters if 0 < len(ours(text, frames)) < len(frames)]
    assert len(telling) > len(filters) / 2
