"""`rewrite:` in a profile, and what the shipped profiles that rewrite make of a conversation."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from middlebox.decision import Decision
from middlebox.engine import Engine
from middlebox.load import load_deployment
from middlebox.packet import decode
from middlebox.profile import Drop, Mark as MarkAction, Placement, Unmark
from tests.unit.talk import Talk, engine_for, rule
from tests.unit.yaml_files import profile


def through(name: str, *, server_port: int = 587) -> Talk:
    """A connection through a box with a shipped profile."""
    return Talk(Engine(load_deployment(name), Random(7), 0), server_port=server_port).connect()


def left(decision: Decision, payload: bytes) -> bytes:
    """The payload with which a packet went on that had come with this one."""
    if decision.replacement is None:
        return payload
    packet = decode(decision.replacement)
    assert packet is not None
    return packet.payload


def server_says(talk: Talk, payload: bytes) -> bytes:
    return left(talk.server_sends(payload), payload)


def client_says(talk: Talk, payload: bytes) -> bytes:
    return left(talk.client_sends(payload), payload)


def test_rewrite_values_have_a_source_each(tmp_path: Path) -> None:
    """What is looked for and what takes its place are statements about the real system."""
    found = profile(
        tmp_path,
        "sources: [{key: K, what: w}]\nrules:\n  - name: a\n    when: tcp\n    source: K\n"
        "    do: [{rewrite: {strip: true, flags: RA, replace: "
        "[{match: a, with: {value: b, source: chosen}}]}}]\n",
    )
    assert {path.rpartition("rewrite.")[2]: key for path, key in found.provenance.items() if "rewrite" in path} == {
        "replace.0.match": "K", "replace.0.with": "chosen", "strip": "K", "flags": "K",
    }  # fmt: skip


def test_unmark_ends_what_a_mark_began() -> None:
    """A rule that needs the mark acts until it is taken away, and not after."""
    engine = engine_for(
        rule('tcp.payload contains "on"', (MarkAction("armed"),), "on"),
        rule('tcp.payload contains "off"', (Unmark("armed"),), "off"),
        rule('flow.marks == "armed" and tcp.payload contains "x"', (Drop(),), "drop"),
        placement=Placement.IN_PATH,
    )
    talk = Talk(engine).connect()
    said = (b"x 1", b"on", b"x 2", b"off", b"x 3")
    verdicts = [talk.client_sends(words).verdict.name for words in said]
    assert verdicts == ["ACCEPT", "ACCEPT", "DROP", "ACCEPT", "ACCEPT"]


@pytest.mark.parametrize(
    ("offered", "left_of_it"),
    [
        (b"250-a\r\n250-STARTTLS\r\n250 HELP\r\n", b"250-a\r\n250 HELP\r\n"),
        (b"250-a\r\n250-8BITMIME\r\n250 STARTTLS\r\n", b"250-a\r\n250 8BITMIME\r\n"),
        (b"250-a\r\n250 STARTTLS\r\n", b"250 a\r\n"),
        (b"250-a\r\n250-starttls\r\n250 SIZE 1\r\n", b"250-a\r\n250 SIZE 1\r\n"),
        (b"250 STARTTLS\r\n", b"250 HELP\r\n"),
        (b"250-a\r\n250 SIZE 1\r\n", b"250-a\r\n250 SIZE 1\r\n"),
    ],
)
def test_stripper_takes_the_line_out_wherever_it_stands(offered: bytes, left_of_it: bytes) -> None:
    """In the middle, at the end (the dash before it goes), alone in its segment."""
    talk = through("stripper")
    server_says(talk, b"220 mail.example\r\n")
    client_says(talk, b"EHLO client\r\n")
    assert server_says(talk, offered) == left_of_it


@pytest.mark.parametrize(
    ("name", "refusal"),
    [
        ("stripper", b"502 Command not implemented\r\n"),
        ("stripper-454", b"454 TLS not available due to temporary reason\r\n"),
        ("stripper-502", b"502 Command not implemented\r\n"),
        ("stripper-354", b"354 do something else\r\n"),
    ],
)
def test_stripper_refuses_once_and_leaves_later_replies_alone(name: str, refusal: bytes) -> None:
    """The server's answer to the command that took STARTTLS's place is exchanged, no other one."""
    talk = through(name)
    server_says(talk, b"220 mail.example\r\n")
    assert client_says(talk, b"STARTTLS\r\n") == b"NOOP\r\n"
    assert server_says(talk, b"250 2.0.0 Ok\r\n") == refusal
    assert client_says(talk, b"MAIL FROM:<a@b.example>\r\n") == b"MAIL FROM:<a@b.example>\r\n"
    assert server_says(talk, b"250 2.1.0 Ok\r\n") == b"250 2.1.0 Ok\r\n"


@pytest.mark.parametrize("name", ["stripper", "stripper-454", "stripper-502", "stripper-354"])
def test_stripper_refuses_in_imap_and_pop_too(name: str) -> None:
    """BAD with the client's own tag; -ERR whatever the server has said."""
    imap = through(name, server_port=143)
    server_says(imap, b"* OK ready\r\n")
    assert client_says(imap, b"a7 STARTTLS\r\n") == b"a7 NOOP\r\n"
    assert server_says(imap, b"* 3 EXISTS\r\na7 OK NOOP completed.\r\n") == (
        b"* 3 EXISTS\r\na7 BAD STARTTLS not supported\r\n"
    )
    pop = through(name, server_port=110)
    server_says(pop, b"+OK ready\r\n")
    assert client_says(pop, b"STLS\r\n") == b"NOOP\r\n"
    assert server_says(pop, b"-ERR Unknown command.\r\n") == b"-ERR STLS not supported\r\n"
    assert client_says(pop, b"USER a\r\n") == b"USER a\r\n"
    assert server_says(pop, b"+OK\r\n") == b"+OK\r\n"


def test_stripper_takes_capabilities_out_of_imap_and_pop() -> None:
    """Greeting, CAPABILITY, CAPA; a mail with such a line stays as it is."""
    imap = through("stripper", server_port=143)
    assert server_says(imap, b"* OK [CAPABILITY IMAP4rev1 STARTTLS IDLE] ready\r\n") == (
        b"* OK [CAPABILITY IMAP4rev1 IDLE] ready\r\n"
    )
    client_says(imap, b"a CAPABILITY\r\n")
    assert server_says(imap, b"* CAPABILITY IMAP4rev1 STARTTLS\r\na OK done\r\n") == (
        b"* CAPABILITY IMAP4rev1\r\na OK done\r\n"
    )
    pop = through("stripper", server_port=110)
    server_says(pop, b"+OK ready\r\n")
    client_says(pop, b"CAPA\r\n")
    assert server_says(pop, b"+OK\r\nTOP\r\nSTLS\r\nUIDL\r\n.\r\n") == b"+OK\r\nTOP\r\nUIDL\r\n.\r\n"
    client_says(pop, b"RETR 1\r\n")
    mail = b"+OK\r\nSubject: x\r\n\r\nSTLS\r\n.\r\n"
    assert server_says(pop, mail) == mail


def test_cisco_masks_letter_by_letter() -> None:
    """Banner, list and command, none of them a byte longer or shorter (Dur15, Cisco document 118550)."""
    talk = through("cisco-esmtp", server_port=25)
    assert server_says(talk, b"220 mail.example.com ESMTP Postfix 3.20\r\n") == (
        b"220 **************** ***** ******* **20\r\n"
    )
    client_says(talk, b"EHLO client\r\n")
    assert server_says(talk, b"250-a\r\n250-STARTTLS\r\n250 SIZE 14680064\r\n") == (
        b"250-a\r\n250-XXXXXXXA\r\n250 SIZE 14680064\r\n"
    )
    assert client_says(talk, b"STARTTLS\r\n") == b"XXXXXXXX\r\n"
    assert server_says(talk, b"502 5.5.2 Error\r\n") == b"502 5.5.2 Error\r\n"
