"""SMTP: what is a command, what is a reply, and where TLS begins."""

from __future__ import annotations

from middlebox.dissect import DEFAULT_PORTS, Dissector, dissector_for
from middlebox.flow import Direction
from tests.unit.dissect_talk import HELLO, C, S, talk


def smtp(*protocols: str) -> Dissector:
    dissector = dissector_for(587, frozenset(protocols or ("smtp", "tls")), DEFAULT_PORTS)
    assert dissector is not None
    return dissector


def commands(*segments: tuple[Direction, bytes]) -> list[object]:
    """All command lines of a conversation that began with a greeting."""
    seen = talk(smtp(), (S, b"220 mail.example\r\n"), *segments)
    return [line for fields in seen for line in fields.get("smtp.command_line", [])]


def test_command_fields_are_cut_as_wireshark_cuts_them() -> None:
    """STARTTLS is command STAR with parameter TLS, and the command line keeps its CR LF."""
    (fields,) = talk(smtp(), (C, b"STARTTLS\r\n"))
    assert fields["smtp.command_line"] == ["STARTTLS\r\n"]
    assert fields["smtp.req.command"] == ["STAR"]
    assert fields["smtp.req.parameter"] == ["TLS"]
    assert fields["smtp"] == [True]


def test_several_commands_in_one_segment_are_all_found() -> None:
    """Pipelined commands are found one by one, also the one that ends in the next segment."""
    seen = talk(
        smtp(), (C, b"MAIL FROM:<a@mail.example>\r\nRCPT TO:<b@mail.example>\r\nSTAR"), (C, b"TTLS\r\n")
    )
    assert seen[0]["smtp.req.command"] == ["MAIL", "RCPT"]
    assert seen[1]["smtp.command_line"] == ["STARTTLS\r\n"]


def test_command_in_a_message_body_is_no_command() -> None:
    """Between 354 and the lone dot nothing is a command; behind the dot, in the same segment, it is again."""
    assert commands(
        (C, b"DATA\r\n"),
        (S, b"354 go\r\n"),
        (C, b"STARTTLS\r\n.\r"),
        (C, b"\nNOOP\r\n"),
        (S, b"250 ok\r\n250 ok\r\n"),
    ) == ["DATA\r\n", "NOOP\r\n"]


def test_refused_data_has_no_body() -> None:
    """After DATA was answered with 503 the next line is a command."""
    assert commands((C, b"DATA\r\n"), (S, b"503 no\r\n"), (C, b"STARTTLS\r\n")) == [
        "DATA\r\n",
        "STARTTLS\r\n",
    ]


def test_refusal_of_a_pipelined_command_is_not_taken_for_that_of_data() -> None:
    """Replies are counted: the 550 belongs to RCPT, so what follows 354 is a body."""
    assert commands(
        (C, b"RCPT TO:<x@mail.example>\r\nDATA\r\n"), (S, b"550 no\r\n354 go\r\n"), (C, b"STARTTLS\r\n.\r\n")
    ) == ["RCPT TO:<x@mail.example>\r\n", "DATA\r\n"]


def test_command_in_a_bdat_chunk_is_no_command() -> None:
    """A chunk has as many bytes as BDAT said, whatever they look like; the next byte is a command's."""
    assert commands((C, b"BDAT 10\r\nSTART"), (C, b"TLS\r\nNOOP\r\n")) == ["BDAT 10\r\n", "NOOP\r\n"]


def test_line_of_an_auth_exchange_is_no_command() -> None:
    """What answers a 334 is a credential, not a command; after the exchange commands come again."""
    seen = talk(
        smtp(),
        (S, b"220 mail.example\r\n"),
        (C, b"AUTH LOGIN\r\n"),
        (S, b"334 VXNlcm5hbWU6\r\n"),
        (C, b"YWxpY2U=\r\n"),
        (S, b"334 UGFzc3dvcmQ6\r\n"),
        (C, b"czNjcjN0LVBX\r\n"),
        (S, b"235 yes\r\n"),
        (C, b"NOOP\r\n"),
    )
    assert seen[3] == {"smtp.req": [True], "smtp.auth.username": ["YWxpY2U="], "smtp": [True]}
    assert seen[5] == {"smtp.req": [True], "smtp.auth.password": ["czNjcjN0LVBX"], "smtp": [True]}
    assert seen[7]["smtp.command_line"] == ["NOOP\r\n"]


def test_every_line_of_a_reply_has_code_and_parameter() -> None:
    """All lines of a multi-line reply are reported, over segments, too."""
    first, second = talk(smtp(), (S, b"250-mail.example\r\n250-STAR"), (S, b"TTLS\r\n250 HELP\r\n"))
    assert first["smtp.response.code"] == [250]
    assert second["smtp.response"] == ["250-STARTTLS\r\n", "250 HELP\r\n"]
    assert second["smtp.rsp.parameter"] == ["STARTTLS", "HELP"]


def test_accepted_starttls_is_followed_by_tls_in_both_directions() -> None:
    """After 220 the client's next bytes are TLS, and SMTP can come no more where TLS began."""
    dissector = smtp()
    seen = talk(dissector, (S, b"220 hi\r\n"), (C, b"STARTTLS\r\n"), (S, b"220 go\r\n"), (C, HELLO))
    assert seen[3]["tls.handshake.type"] == [1]
    assert "smtp" not in seen[3]
    assert dissector.alive[C] == {"tls", "tls.handshake"}
    assert dissector.alive[S] == {"tls", "tls.handshake", "smtp"}
    (fields,) = talk(dissector, (S, b"\x16\x03\x03\x00\x04\x0e\x00\x00\x00"))
    assert fields["tls.handshake.type"] == [14]
    assert dissector.alive[S] == {"tls", "tls.handshake"}


def test_refused_starttls_leaves_the_connection_in_clear() -> None:
    """After 454 the client's next line is a command, even if its first byte would be a TLS record's."""
    seen = talk(
        smtp(),
        (S, b"220 hi\r\n"),
        (C, b"STARTTLS\r\n"),
        (S, b"454 no\r\n"),
        (C, b"\x16\x03\x01\x00\x04x\r\n"),
    )
    assert seen[3]["smtp.command_line"] == ["\x16\x03\x01\x00\x04x\r\n"]


def test_text_injected_around_starttls_is_still_read() -> None:
    """Commands behind STARTTLS and replies behind 220 are seen, and TLS is still found after them."""
    seen = talk(
        smtp(),
        (S, b"220 hi\r\n"),
        (C, b"STARTTLS\r\nRSET\r\nNO"),
        (S, b"220 go\r\n250 injected\r\n"),
        (C, HELLO),
    )
    assert seen[1]["smtp.command_line"] == ["STARTTLS\r\n", "RSET\r\n"]
    assert seen[2]["smtp.response.code"] == [220, 250]
    assert seen[3]["tls.handshake.type"] == [1]


def test_hello_in_the_segment_of_starttls_is_read_as_tls() -> None:
    """A client that does not wait for 220 is read as what it sends."""
    (fields,) = talk(smtp(), (C, b"STARTTLS\r\n" + HELLO))
    assert fields["smtp.command_line"] == ["STARTTLS\r\n"]
    assert fields["tls.handshake.type"] == [1]


def test_tls_from_the_first_byte_is_read_as_tls() -> None:
    """Implicit TLS on a port of SMTP is TLS."""
    (fields,) = talk(smtp(), (C, HELLO))
    assert fields["tls.handshake.type"] == [1]


def test_smtp_is_followed_though_only_tls_is_wanted() -> None:
    """A rule about TLS on port 587 gets the hello behind STARTTLS, and no SMTP fields."""
    dissector = smtp("tls")
    assert dissector.alive == ({"tls", "tls.handshake"}, {"tls", "tls.handshake"})
    seen = talk(dissector, (S, b"220 hi\r\n"), (C, b"STARTTLS\r\n"), (S, b"220 go\r\n"), (C, HELLO))
    assert seen[:3] == [{}, {}, {}]
    assert seen[3]["tls.handshake.type"] == [1]


def test_nothing_is_alive_after_starttls_when_only_smtp_is_wanted() -> None:
    """A rule about SMTP alone has no more use for a flow that turned to TLS in both directions."""
    dissector = smtp("smtp")
    talk(
        dissector,
        (S, b"220 hi\r\n"),
        (C, b"STARTTLS\r\n"),
        (S, b"220 go\r\n"),
        (C, HELLO),
        (S, b"\x16\x03\x03"),
    )
    assert dissector.alive == (frozenset(), frozenset())


def test_restart_forgets_half_a_command() -> None:
    """After bytes were lost, the two halves of a line are not joined."""
    dissector = smtp()
    talk(dissector, (C, b"STAR"))
    dissector.restart(C)
    (fields,) = talk(dissector, (C, b"TTLS\r\n"))
    assert fields["smtp.command_line"] == ["TTLS\r\n"]


def test_one_sided_conversation_still_shows_commands() -> None:
    """With the server's direction never fed, commands and the end of a body are still told apart."""
    (fields,) = talk(smtp(), (C, b"DATA\r\nSTARTTLS\r\n.\r\nQUIT\r\n"))
    assert fields["smtp.command_line"] == ["DATA\r\n", "QUIT\r\n"]
