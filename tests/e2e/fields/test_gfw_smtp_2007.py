"""The forged SMTP replies of 2006 and 2007 on the wire (catalogue sections 4.1 and 13)."""

from __future__ import annotations

import pytest

from middlebox.packet import RST
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.two_ends import both_ends

GENEVA = b"MAIL FROM: xiazai@upup.info \r\n"
"""Byte for byte what Geneva's plug-in says."""

SLUG = "gfw-smtp-2007"
REPLIES = {
    "disliked-recipient": (b"RCPT TO:", b"551 User not local; please try <forward-path>\r\n"),
    "disliked-sender": (b"MAIL FROM:", b"500 error\r\n"),
    "geneva": (b"MAIL FROM:", b"500 error\r\n"),
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", REPLIES)
def test_forged_reply_comes_first_and_then_death(finished_run: FinishedRun, step: str, family: int) -> None:
    """The reply, byte for byte, where the client expects the server's; behind it a RST; one to the server too."""
    connection = finished_run(SLUG).connection(step, family)
    command, text = REPLIES[step]
    trigger = next(p for p in connection.genuine("client") if p.payload.upper().startswith(command))
    reply, reset = connection.seen_forged("client")
    assert (reply.flags, reply.packet.payload) == ("PA", text)
    assert reply.packet.seq == trigger.ack
    assert reply.packet.ack == (trigger.seq + len(trigger.payload)) & 0xFFFFFFFF
    assert (reset.flags, reset.packet.seq) == ("R", (trigger.ack + len(text)) & 0xFFFFFFFF)
    assert reset.time_ns > reply.time_ns
    [to_server] = connection.seen_forged("server")
    assert (to_server.flags, to_server.packet.seq) == ("R", reply.packet.ack)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", REPLIES)
def test_box_lets_the_command_through_and_says_nothing_else(
    finished_run: FinishedRun, step: str, family: int
) -> None:
    """On-path: the server receives what the client said, dies of the RST, and knows nothing of the reply."""
    run = finished_run(SLUG)
    at_client, at_server = both_ends(run, run.connection(step, family))
    command, text = REPLIES[step]
    assert command in at_server.stream("client").upper()
    assert text not in at_server.stream("server")
    assert text in [p.payload for p in at_client.sent_by("server")]
    assert [p for p in at_server.sent_by("client") if p.flags & RST] != []
    assert b"\r\nDATA\r\n" not in at_server.stream("client").upper()


@pytest.mark.parametrize("family", FAMILIES)
def test_word_cut_in_two_is_not_seen(finished_run: FinishedRun, family: int) -> None:
    """No reassembly (Bock20): the recipient in two segments gets the server's own answer."""
    run = finished_run(SLUG)
    connection = run.connection("word-cut-in-two", family)
    assert connection.forged("client") == connection.forged("server") == []
    pieces = [p.payload for p in connection.genuine("client") if p.payload]
    assert b"RCPT TO:<fal" in pieces
    assert b"un@mail.example>\r\n" in pieces
    _, at_server = both_ends(run, connection)
    assert b"RCPT TO:<falun@mail.example>\r\n" in at_server.stream("client")


@pytest.mark.parametrize("family", FAMILIES)
def test_bytes_of_geneva_set_it_off_on_port_25_only(finished_run: FinishedRun, family: int) -> None:
    """With a space before the sender and one behind; on port 587 they get the server's own answer."""
    run = finished_run(SLUG)
    hit, control = (run.connection(step, family) for step in ("geneva", "other-port"))
    assert (hit.ends.server_port, control.ends.server_port) == (25, 587)
    for connection in (hit, control):
        assert connection.first_data().packet.payload == GENEVA
    assert len(hit.forged("client")) == 2
    assert control.forged("client") == control.forged("server") == []


@pytest.mark.parametrize("family", FAMILIES)
def test_sender_outside_is_answered_likewise(finished_run: FinishedRun, family: int) -> None:
    """From outside in: the reply and the RST behind it go to the client outside, a RST to the server inside."""
    connection = finished_run(SLUG).connection("from-outside", family)
    assert not connection.client_is_inside
    assert connection.first_data().packet.payload == GENEVA
    reply, reset = connection.seen_forged("client")
    assert (reply.flags, reply.packet.payload, reset.flags) == ("PA", b"500 error\r\n", "R")
    [to_server] = connection.seen_forged("server")
    assert to_server.flags == "R"
