"""What crossed, read from one end's capture: commands over segment borders, TLS records, nothing after a hole."""

from __future__ import annotations

import pytest

from scenarios.captures import Captured
from scenarios.crossings import crossed, in_order
from tests.unit.staged import Stage, handshake

HANDSHAKE = b"\x16\x03\x01\x00\x05hello"
DATA = b"\x17\x03\x03\x00\x06secret"


def play(*said: tuple[str, bytes]) -> Stage:
    stage = Stage()
    handshake(stage)
    for sender, payload in said:
        stage.send(sender, "PA", payload)
    return stage


def hits(stage: Stage, what: str) -> list[bytes]:
    packets = stage.sorted()["mail"]
    client = [captured for captured in packets if captured.packet.src == stage.pack(stage.client)]
    return [captured.packet.payload for captured in crossed(client, what)]


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("auth", b"AUTH PLAIN AGEAYg==\r\n"), ("auth", b"a1 LOGIN alice pw\r\n"),
        ("auth", b"a2 authenticate PLAIN\r\n"),
        ("auth", b"USER alice\r\n"), ("auth", b"PASS pw\r\n"), ("mail", b"MAIL FROM:<a@mail.example>\r\n"),
        ("mail", b"data\r\n"), ("starttls", b"STARTTLS\r\n"), ("starttls", b"stls\r\n"),
        ("starttls", b"x9 STARTTLS\r\n"),
    ],
)  # fmt: skip
def test_crossings_command_is_found(what: str, line: bytes) -> None:
    """Each command of SMTP, IMAP and POP3 that must not cross is known by its line."""
    assert hits(play(("server", b"220 hi\r\n"), ("client", b"EHLO lab\r\n"), ("client", line)), what) == [
        line
    ]


def test_crossings_command_over_two_segments_is_found_where_it_ends() -> None:
    """A command cut in the middle crossed with its last piece."""
    assert hits(play(("client", b"AUTH PLA"), ("client", b"IN AGEAYg==\r\n")), "auth") == [b"IN AGEAYg==\r\n"]


def test_crossings_words_inside_other_lines_are_none() -> None:
    """A server that offers AUTH, and a client that speaks of DATA, are innocent."""
    stage = play(("server", b"250-AUTH PLAIN\r\n250 STARTTLS\r\n"), ("client", b"EHLO data.example\r\n"))
    assert [hits(stage, what) for what in ("auth", "mail", "starttls")] == [[], [], []]


def test_crossings_application_data_is_found_after_the_handshake() -> None:
    """TLS after STARTTLS: the client's handshake is none, nor are the server's records; the client's data is."""
    talk = [
        ("client", b"STARTTLS\r\n"),
        ("server", b"220 go\r\n"),
        ("client", HANDSHAKE),
        ("server", HANDSHAKE + DATA),
    ]
    assert hits(play(*talk), "application-data") == []
    assert hits(play(*talk, ("client", DATA), ("server", DATA)), "application-data") == [DATA]


def test_crossings_application_data_over_segments_is_found_where_it_begins() -> None:
    """A record that starts in the segment of another record counts for that segment."""
    stage = play(("client", HANDSHAKE + DATA[:4]), ("client", DATA[4:] + DATA))
    assert hits(stage, "application-data") == [DATA[4:] + DATA, DATA[4:] + DATA]


def test_crossings_stream_is_in_order_once_and_ends_at_a_hole() -> None:
    """Retransmitted bytes count once, early segments wait, what comes after a hole was not delivered."""
    stage = Stage()
    handshake(stage)
    base = (stage.isn["client"] + 1) % 2**32
    for offset, payload in ((5, b"world"), (0, b"hello"), (0, b"hello"), (3, b"loworld!"), (20, b"lost")):
        stage.travel(stage.packet("client", "PA", payload, seq=(base + offset) % 2**32), ("sim1", "mail"))
        stage.time_ms += 1
    client: list[Captured] = [c for c in stage.captures["mail"] if c.packet.src == stage.pack(stage.client)]
    assert b"".join(piece for piece, _ in in_order(client)) == b"helloworld!"
