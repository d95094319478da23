"""What Cisco's inspection makes of a conversation, byte by byte, in the captures of both ends (catalogue 9.2)."""

from __future__ import annotations

import pytest

from middlebox.packet import checksum_is_right
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.two_ends import both_ends, tshark

SLUG = "cisco-esmtp"
STEPS = ("opportunistic", "strict", "ask-anyway", "last-line")


def masked(line: bytes) -> bytes:
    """Every character but 2, 0 and blanks becomes an asterisk."""
    return bytes(c if c in b"20 " else ord("*") for c in line)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", STEPS)
def test_cisco_banner_is_masked_but_for_its_2_and_0(
    finished_run: FinishedRun, step: str, family: int
) -> None:
    """The server's greeting, which it sent as it is, reaches the client in asterisks."""
    run = finished_run(SLUG)
    at_client, at_server = both_ends(run, run.connection(step, family))
    sent, came = at_server.lines("server")[0], at_client.lines("server")[0]
    assert sent.startswith((b"220 mail.example ESMTP", b"220 peer.example ESMTP"))
    assert came == masked(sent)
    assert came.startswith(b"220 ************ *****")


@pytest.mark.parametrize("family", FAMILIES)
def test_cisco_masks_what_stands_in_document_118550(finished_run: FinishedRun, family: int) -> None:
    """Its three lines, the last of which is `250 XXXXXXXA`; and of a version in the banner 2 and 0 are left."""
    run = finished_run(SLUG)
    at_client, at_server = both_ends(run, run.connection("last-line", family))
    assert at_server.lines("server")[:-1] == [
        b"220 peer.example ESMTP 3.20", b"250-peer.example", b"250-8BITMIME", b"250-SIZE 14680064", b"250 STARTTLS",
    ]  # fmt: skip
    assert at_client.lines("server")[:-1] == [
        b"220 ************ ***** **20", b"250-peer.example", b"250-8BITMIME", b"250-SIZE 14680064", b"250 XXXXXXXA",
    ]  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", STEPS)
def test_cisco_list_has_xxxxxxxa_in_place_of_starttls(
    finished_run: FinishedRun, step: str, family: int
) -> None:
    """`250-STARTTLS` is `250-XXXXXXXA`, `250 STARTTLS` is `250 XXXXXXXA`; every other line of the server stays."""
    run = finished_run(SLUG)
    at_client, at_server = both_ends(run, run.connection(step, family))
    sent, came = at_server.lines("server")[1:], at_client.lines("server")[1:]
    assert [line for line in sent if line[4:] == b"STARTTLS"] != []
    expected = [line[:4] + b"XXXXXXXA" if line[4:] == b"STARTTLS" else line for line in sent]
    assert came == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_cisco_command_reaches_the_server_as_eight_x(finished_run: FinishedRun, family: int) -> None:
    """`STARTTLS` leaves the client, `XXXXXXXX` arrives, and nothing else of the client's is touched."""
    run = finished_run(SLUG)
    at_client, at_server = both_ends(run, run.connection("ask-anyway", family))
    sent = at_client.stream("client")
    assert sent.count(b"\r\nSTARTTLS\r\n") == 1
    assert at_server.stream("client") == sent.replace(b"STARTTLS", b"XXXXXXXX")
    reply = at_client.lines("server")[-2]
    assert reply[:3] in (b"500", b"502")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", STEPS)
def test_cisco_moves_no_number(finished_run: FinishedRun, step: str, family: int) -> None:
    """No byte more or less: the same segments with the same numbers at both ends, and right checksums."""
    run = finished_run(SLUG)
    at_client, at_server = both_ends(run, run.connection(step, family))
    for who in ("client", "server"):
        numbers = [
            [(p.seq, p.ack, len(p.payload), p.window) for p in end.sent_by(who)]
            for end in (at_client, at_server)
        ]
        assert numbers[0] == numbers[1]
    assert all(checksum_is_right(p) for p in (*at_client.packets, *at_server.packets))


def test_cisco_leaves_nothing_for_wireshark_to_note(finished_run: FinishedRun) -> None:
    """No retransmission, nothing out of order, nothing acknowledged that was not seen, at either end."""
    run = finished_run(SLUG)
    for host in ("sim1", "mail", "peer"):
        assert tshark(run.directory / "captures" / f"{host}.pcapng", "tcp.analysis.flags") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_cisco_lets_mail_through_in_clear(finished_run: FinishedRun, family: int) -> None:
    """The mail that could have gone under TLS is readable at both ends and between them."""
    run = finished_run(SLUG)
    for end in both_ends(run, run.connection("opportunistic", family)):
        assert b"Hello from the lab." in end.stream("client")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("step", "refused"), [("opportunistic", b"ehlo "), ("ask-anyway", b"STARTTLS"), ("old-words", b"VRFY ")]
)
def test_mail_guard_refuses_what_is_not_of_the_seven(
    finished_run: FinishedRun, step: str, refused: bytes, family: int
) -> None:
    """`502 5.5.2 Error: command not recognized` for EHLO, STARTTLS and VRFY, and nothing else is changed."""
    run = finished_run("pix-mailguard")
    at_client, at_server = both_ends(run, run.connection(step, family))
    said, heard = at_client.lines("client"), at_server.lines("client")
    assert heard == [b"NOOP" if line.startswith(refused) else line for line in said]
    assert said != heard
    pairs = zip(at_server.lines("server"), at_client.lines("server"), strict=True)
    [(sent, came)] = [(sent, came) for sent, came in pairs if sent != came]
    assert came == b"502 5.5.2 Error: command not recognized"
    assert sent.startswith(b"250 ")


@pytest.mark.parametrize("family", FAMILIES)
def test_mail_guard_lets_each_of_the_seven_pass(finished_run: FinishedRun, family: int) -> None:
    """The commands that RFC 821 section 4.5.1 demands of every server reach it, and its answers come back."""
    run = finished_run("pix-mailguard")
    seven = {b"HELO", b"MAIL", b"RCPT", b"DATA", b"RSET", b"NOOP", b"QUIT"}
    passed = set()
    for step in ("opportunistic", "old-words"):
        ends = both_ends(run, run.connection(step, family))
        said, heard = ({line[:4].upper() for line in end.lines("client")} for end in ends)
        passed |= said & heard & seven
    assert passed == seven
