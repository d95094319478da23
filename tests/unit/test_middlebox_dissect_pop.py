"""POP3: commands, answers, messages, and where TLS begins."""

from __future__ import annotations

from middlebox.dissect import DEFAULT_PORTS, Dissector, dissector_for
from middlebox.dissect.pop import MAX_PENDING_COMMANDS
from tests.unit.dissect_talk import HELLO, C, S, talk


def pop() -> Dissector:
    dissector = dissector_for(110, frozenset({"pop", "tls"}), DEFAULT_PORTS)
    assert dissector is not None
    return dissector


def test_request_and_answer_are_split_at_the_first_space() -> None:
    """A command has its parameter, an answer its indicator and description."""
    request, answer = talk(pop(), (C, b"USER alice\r\n"), (S, b"-ERR no such user\r\n"))
    assert request == {
        "pop": [True],
        "pop.request": ["USER alice\r\n"],
        "pop.request.command": ["USER"],
        "pop.request.parameter": ["alice"],
    }
    assert answer == {
        "pop": [True],
        "pop.response": ["-ERR no such user\r\n"],
        "pop.response.indicator": ["-ERR"],
        "pop.response.description": ["no such user"],
    }


def test_line_of_a_message_is_no_answer() -> None:
    """+OK in a message that is being fetched answers nothing; behind its end an answer is one again."""
    seen = talk(
        pop(),
        (S, b"+OK ready\r\n"),
        (C, b"RETR 1\r\nNOOP\r\n"),
        (S, b"+OK 30 octets\r\n+OK is text\r\n"),
        (S, b".\r\n+OK\r\n"),
    )
    assert seen[2]["pop.response"] == ["+OK 30 octets\r\n"]
    assert seen[3]["pop.response"] == ["+OK\r\n"]


def test_refused_retr_has_no_message() -> None:
    """Only +OK is followed by lines."""
    seen = talk(
        pop(), (S, b"+OK ready\r\n"), (C, b"RETR 9\r\nNOOP\r\n"), (S, b"-ERR no\r\n"), (S, b"+OK\r\n")
    )
    assert seen[3]["pop.response"] == ["+OK\r\n"]


def test_list_of_one_message_is_a_single_line() -> None:
    """LIST with a number is answered by one line, LIST alone by many."""
    seen = talk(pop(), (S, b"+OK ready\r\n"), (C, b"LIST 1\r\nNOOP\r\n"), (S, b"+OK 1 20\r\n+OK\r\n"))
    assert seen[2]["pop.response"] == ["+OK 1 20\r\n", "+OK\r\n"]


def test_line_of_an_auth_exchange_is_no_command() -> None:
    """What answers a + line is a credential."""
    seen = talk(
        pop(), (S, b"+OK\r\n"), (C, b"AUTH PLAIN\r\n"), (S, b"+ \r\n"), (C, b"STLS\r\n"), (S, b"+OK\r\n")
    )
    assert "pop.request.command" not in seen[3]


def test_accepted_stls_is_followed_by_tls() -> None:
    """After +OK the client's next bytes are TLS, and POP3 can come no more there."""
    dissector = pop()
    seen = talk(
        dissector, (S, b"+OK ready\r\n"), (C, b"NOOP\r\nstls\r\n"), (S, b"+OK\r\n+OK begin\r\n"), (C, HELLO)
    )
    assert seen[3]["tls.handshake.type"] == [1]
    assert dissector.alive[C] == {"tls", "tls.handshake"}


def test_refused_stls_leaves_the_connection_in_clear() -> None:
    """After -ERR the client's next line is a command, even if its first byte would be a TLS record's."""
    seen = talk(pop(), (S, b"+OK ready\r\n"), (C, b"STLS\r\n"), (S, b"-ERR no\r\n"), (C, b"\x16\r\n"))
    assert seen[3]["pop.request.command"] == ["\x16"]


def test_unanswered_commands_are_bounded() -> None:
    """A client that never waits makes the dissector remember no more than the limit, which still works after it."""
    dissector = pop()
    talk(dissector, (S, b"+OK ready\r\n"), (C, b"NOOP\r\n" * 10 * MAX_PENDING_COMMANDS))
    seen = talk(
        dissector, (S, b"+OK\r\n" * 10 * MAX_PENDING_COMMANDS), (C, b"STLS\r\n"), (S, b"+OK\r\n"), (C, HELLO)
    )
    assert seen[3]["tls.handshake.type"] == [1]
