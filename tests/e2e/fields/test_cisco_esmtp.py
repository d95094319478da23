"""What Cisco's inspection makes of a conversation, byte by byte, in the captures of both ends (catalogue 9.2)."""

from __future__ import annotations

import pytest

from middlebox.packet import checksum_is_right
from tests.e2e.fields.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.two_ends import both_ends, tshark

SLUG = "cisco-esmtp"
STEPS = ("opportunistic", "strict", "ask-anyway")


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
    assert sent.startswith(b"220 mail.example ESMTP")
    assert came == masked(sent)
    assert came.startswith(b"220 ************ *****")


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
    for host in ("sim1", "mail"):
        assert tshark(run.directory / "captures" / f"{host}.pcapng", "tcp.analysis.flags") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_cisco_lets_mail_through_in_clear(finished_run: FinishedRun, family: int) -> None:
    """The mail that could have gone under TLS is readable at both ends and between them."""
    run = finished_run(SLUG)
    for end in both_ends(run, run.connection("opportunistic", family)):
        assert b"Hello from the lab." in end.stream("client")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("step", "refused"), [("opportunistic", b"ehlo "), ("ask-anyway", b"STARTTLS")])
def test_mail_guard_refuses_what_is_not_of_the_seven(
    finished_run: FinishedRun, step: str, refused: bytes, family: int
) -> None:
    """`502 5.5.2 Error: command not recognized` for EHLO and STARTTLS; the seven pass as they are."""
    run = finished_run("pix-mailguard")
    at_client, at_server = both_ends(run, run.connection(step, family))
    said, heard = at_client.lines("client"), at_server.lines("client")
    assert heard == [b"NOOP" if line.startswith(refused) else line for line in said]
    assert said != heard
    pairs = zip(at_server.lines("server"), at_client.lines("server"), strict=True)
    [(sent, came)] = [(sent, came) for sent, came in pairs if sent != came]
    assert came == b"502 5.5.2 Error: command not recognized"
    assert sent.startswith(b"250 ")
