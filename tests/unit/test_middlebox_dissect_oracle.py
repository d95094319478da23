"""Our fields against tshark's, packet by packet, for every field that we have: tests/data/dissect."""

from __future__ import annotations

import subprocess
from typing import NamedTuple

import pytest

from middlebox.dissect import ALL_FIELDS, Fields, FieldType, Value, field_group
from tests.unit.dissect_kit import capture_names, our_fields, tsharks_fields

# tshark 4.0 registers these, but leaves their value empty.
EMPTY_IN_TSHARK = frozenset({"pop.request", "pop.response"})


class Difference(NamedTuple):
    """A packet where tshark is wrong about a field (and so about others of that protocol). None: any other value."""

    capture: str
    frame: int
    field: str
    ours: list[Value]
    tsharks: list[Value] | None
    why: str


_BODY = "what stands in a literal is no command"
_REST = "what follows a literal is the rest of the line before it, not a new one"
_PIPELINED = "tshark reads one command or answer a packet"
_CHALLENGE = "a line that goes on with AUTH is no command"
DIFFERENCES = [
    Difference(
        "smtp.pcap", 118, "smtp.command_line", ["HELP\r\n"], [], "DATA was refused, so no body follows"
    ),
    Difference(
        "smtp.pcap", 120, "smtp.command_line", ["QUIT\r\n"], [], "DATA was refused, so no body follows"
    ),
    Difference("imap.pcap", 15, "imap.request.command", [], ["one", "STARTTLS", "not"], _BODY),
    Difference("imap.pcap", 39, "imap.request.command", [], None, _BODY),
    Difference("imap.pcap", 40, "imap.request.command", [], None, _BODY),
    Difference("imap.pcap", 41, "imap.request.command", [], None, _BODY),
    Difference("imap.pcap", 70, "imap.response_tag", ["A004"], [")", "A004"], _REST),
    Difference(
        "imap.pcap",
        93,
        "imap.line",
        ["* 2 FETCH (UID 2 BODY[] {4248}\r\n"],
        [],
        "tshark waits for the literal's end to show the line that announced it",
    ),
    Difference("imap.pcap", 96, "imap.response_tag", ["A004"], [")", "A004"], _REST),
    *(
        Difference("pop.pcap", frame, "pop.request.command", [], ["AGFsaWNlAHMzY3IzdC1QVw=="], _CHALLENGE)
        for frame in (12, 33, 54, 143)
    ),
    Difference(
        "dialogue-smtp-pipelining.pcap",
        9,
        "smtp.command_line",
        ["NOOP\r\n"],
        [],
        "a command behind a message's end",
    ),
    Difference(
        "dialogue-smtp-pipelining.pcap",
        11,
        "smtp.command_line",
        ["NOOP\r\n"],
        ["NOOP\r\n", "STAR"],
        "half a command is not one",
    ),
    Difference(
        "dialogue-smtp-pipelining.pcap",
        12,
        "smtp.command_line",
        ["STARTTLS\r\n"],
        ["TTLS\r\n"],
        "tshark misses a command that begins in the segment of another one",
    ),
    Difference(
        "dialogue-smtp-auth.pcap",
        19,
        "smtp.command_line",
        [],
        ["YWxpY2UgMDEyMzQ1Njc4OWFiY2RlZg==\r\n"],
        _CHALLENGE,
    ),
    Difference(
        "dialogue-smtp-bdat.pcap",
        9,
        "smtp.command_line",
        ["BDAT 13\r\n"],
        [],
        "a command in the segment of its chunk",
    ),
    Difference(
        "dialogue-smtp-starttls-impatient.pcap",
        7,
        "smtp.command_line",
        ["STARTTLS\r\n"],
        None,
        "TLS is no command",
    ),
    Difference(
        "dialogue-smtp-starttls-impatient.pcap",
        7,
        "tls.handshake.extensions_server_name",
        ["mail.example"],
        [],
        "a client that does not wait for 220",
    ),
    Difference(
        "dialogue-imap-literals.pcap",
        5,
        "imap.line",
        ["a1 LOGIN {5+}\r\n", " {9+}\r\n", "\r\n"],
        ["a1 LOGIN {5+}\r\n"],
        "tshark gives up on a LOGIN whose arguments are literals",
    ),
    Difference("dialogue-imap-literals.pcap", 9, "imap.request.command", [], ["STARTTLS"], _BODY),
    Difference("dialogue-imap-literals.pcap", 14, "imap.response", ["a4 OK"], [" UID 4)", "a4 OK"], _REST),
    Difference(
        "dialogue-pop-pipelining.pcap", 7, "pop.request.command", ["STAT", "LIST"], ["STAT"], _PIPELINED
    ),
    Difference(
        "dialogue-pop-pipelining.pcap", 8, "pop.response.indicator", ["+OK", "+OK"], ["+OK"], _PIPELINED
    ),
    Difference(
        "dialogue-pop-pipelining.pcap",
        11,
        "pop.response.indicator",
        [],
        ["+OK"],
        "a line of a message is no answer",
    ),
    Difference(
        "dialogue-pop-pipelining.pcap",
        13,
        "pop.request.command",
        ["STLS"],
        ["LS"],
        "a command over two segments",
    ),
    Difference(
        "dialogue-pop-pipelining.pcap",
        14,
        "pop.response.description",
        ["begin"],
        [],
        "tshark reads one answer a packet",
    ),
    Difference(
        "dialogue-pop-pipelining.pcap",
        15,
        "pop.request.command",
        [],
        None,
        "tshark missed STLS, so it misses TLS",
    ),
    Difference(
        "dialogue-pop-pipelining.pcap",
        15,
        "tls.handshake.extensions_server_name",
        ["mail.example"],
        [],
        "tshark missed STLS, so it misses TLS",
    ),
    *(
        Difference(
            "http.pcap", frame, "http", [True], [], "a part of a body that tshark joins in a later packet"
        )
        for frame in (67, 76, 77, 97, 106, 107)
    ),
    Difference(
        "quic.pcap",
        20,
        "quic.packet_number",
        [],
        None,
        "aioquic 1.7 protects this version 2 Initial with the keys of version 1; tshark shows what it could not open",
    ),
    Difference(
        "dns.pcap",
        14,
        "dns.resp.name",
        ["_imaps._tcp.example", "mail.example", "mail.example", "mail.example", "<Root>"],
        ["mail.example", "mail.example", "mail.example", "<Root>"],
        "tshark calls the owner of an SRV record dns.srv.name only",
    ),
]
_BEHIND_SOCKS = "what the client asked for follows, and that is not SOCKS"
DIFFERENCES += [
    Difference("dialogue-socks5-name.pcap", 10, "socks", [], [True], _BEHIND_SOCKS),
    Difference("dialogue-socks4.pcap", 6, "socks", [], [True], _BEHIND_SOCKS),
    Difference("dialogue-pptp.pcap", 8, "pptp.type", [1, 1], [1], "tshark reads one message a packet"),
]

# Protocols of whole captures that we do not look for: what is inside a VPN is not read.
NOT_READ = {"openvpn.pcap": "tls"}


pytestmark = pytest.mark.tshark_4_0


def comparable(name: str, values: list[Value]) -> list[Value]:
    """Of booleans only which occur, because one a line and one a packet mean the same to a filter."""
    if name in EMPTY_IN_TSHARK:
        return []
    return sorted(set(values)) if ALL_FIELDS[name].type is FieldType.BOOL else values


def first_lines_only(fields: Fields) -> Fields:
    """The replies as tshark 4.0 shows them: a line that continues a reply in the same packet is no smtp.response."""
    responses = fields.get("smtp.response", [])
    kept = [
        number
        for number in range(len(responses))
        if number == 0 or not isinstance(before := responses[number - 1], str) or before[3:4] != "-"
    ]
    shortened = dict(fields)
    for name in ("smtp.response", "smtp.response.code"):
        if name in fields:
            shortened[name] = [fields[name][number] for number in kept]
    return shortened


@pytest.mark.parametrize("capture", capture_names())
def test_fields_of_every_packet_are_those_of_tshark(capture: str) -> None:
    """Every field of every packet is what tshark shows, except in the packets that DIFFERENCES names with a reason."""
    excused = {
        (case.frame, field_group(case.field).partition(".")[0])
        for case in DIFFERENCES
        if case.capture == capture
    }
    ours, tsharks = our_fields(capture), tsharks_fields(capture)
    assert len(ours) == len(tsharks)
    assert any(fields for fields in tsharks)
    wrong = []
    for frame, (here, there) in enumerate(zip(map(first_lines_only, ours), tsharks, strict=True), start=1):
        for name in here.keys() | there.keys():
            protocol = name.partition(".")[0]
            if (frame, protocol) in excused or NOT_READ.get(capture) == protocol:
                continue
            mine, its = (comparable(name, fields.get(name, [])) for fields in (here, there))
            if mine != its:
                wrong.append(f"frame {frame} {name}: ours {mine}, tshark's {its}")
    assert not wrong


@pytest.mark.parametrize("case", DIFFERENCES, ids=lambda case: f"{case.capture}-{case.frame}-{case.field}")
def test_difference_to_tshark_is_as_described(case: Difference) -> None:
    """Where we differ on purpose, our value is the right one and tshark's is still the wrong one."""
    ours = our_fields(case.capture)[case.frame - 1].get(case.field, [])
    tsharks = tsharks_fields(case.capture)[case.frame - 1].get(case.field, [])
    assert ours == case.ours, case.why
    assert tsharks != case.ours, "tshark agrees by now: remove this case"
    if case.tsharks is not None:
        assert tsharks == case.tsharks


def test_field_names_are_wiresharks() -> None:
    """Every field that we offer is one that tshark knows, so that any rule on it can be pasted into Wireshark."""
    fields = subprocess.run(["tshark", "-G", "fields"], check=True, capture_output=True, text=True).stdout
    known = {line.split("\t")[2] for line in fields.splitlines() if line.count("\t") >= 2}
    assert set(ALL_FIELDS) <= known
