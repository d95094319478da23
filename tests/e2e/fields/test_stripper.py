"""What the stripper makes of conversations, in the captures of both ends (catalogue sections 9.2 and 9.3).

Its changes have another length, so beside what is said the numbers are checked: each end must find its own count in
everything that it receives, to the end of long connections, also where links lose and reorder.
"""

from __future__ import annotations

import re

import pytest

from middlebox.packet import checksum_is_right
from tests.e2e.conftest import FinishedRun
from tests.e2e.fields.finished import FAMILIES
from tests.e2e.fields.two_ends import End, both_ends, tshark
from tests.e2e.test_captures_in_wireshark import CHECKING

NOTABLE = (
    "tcp.analysis.flags and not tcp.analysis.window_full"
    " and not tcp.analysis.keep_alive and not tcp.analysis.keep_alive_ack"
)
"""Wireshark notes a full window where a sender has used all of it, which is the receiver's business, and takes an ACK
that its own FIN has overtaken in the sender, on two processors, for a keep-alive (seen in captures of both ends)."""
TAKEN_FROM_EHLO = len(b"250-STARTTLS\r\n")
TAKEN_FROM_COMMAND = len(b"STARTTLS\r\n") - len(b"NOOP\r\n")
REFUSALS = {
    "told-454": b"454 TLS not available due to temporary reason",
    "told-502": b"502 Command not implemented",
    "told-354": b"354 do something else",
}


def without_starttls(lines: list[bytes]) -> list[bytes]:
    """A server's lines less STARTTLS; the line that has become the last one of its list loses its dash."""
    kept: list[bytes] = []
    for line in lines:
        if line == b"250 STARTTLS":
            kept[-1] = b"250 " + kept[-1][4:]
        elif line != b"250-STARTTLS":
            kept.append(line)
    return kept


def assert_numbers_agree(at_client: End, at_server: End, *, lossy: bool = False) -> None:
    """Each end's last byte is acknowledged by the other in its own count, no checksum is wrong, and no window moved.

    Where links lose, an end's last packet may be lost, or the ACK of it, and the run over before it is sent again: the
    client is done as soon as it has its answer, and then that packet's share, mostly a FIN, is missing. Nor does every
    packet with a window arrive there.
    """
    for who in () if lossy else ("client", "server"):
        windows = [[p.window for p in end.sent_by(who)] for end in (at_client, at_server)]
        assert windows[0] == windows[1]
    for end in (at_client, at_server):
        for who, other in (("client", "server"), ("server", "client")):
            missing = end.next_number(who) - max(end.acknowledged(other))
            last_packet = len(end.segments(who)[-1][1]) + 1  # and its FIN
            assert 0 <= missing <= (last_packet if lossy else 0)
        assert all(checksum_is_right(p) for p in end.packets)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["opportunistic", "strict"])
def test_stripper_takes_starttls_out_of_the_ehlo_answer(
    finished_run: FinishedRun, step: str, family: int
) -> None:
    """The client sees every line but that one, and says what it would have said anyway."""
    run = finished_run("stripper")
    at_client, at_server = both_ends(run, run.connection(step, family))
    sent, came = at_server.lines("server"), at_client.lines("server")
    assert any(line[4:] == b"STARTTLS" for line in sent)
    assert came == without_starttls(sent)  # so it still ends with a blank instead of a dash
    assert at_client.stream("client") == at_server.stream("client")


@pytest.mark.parametrize("family", FAMILIES)
def test_stripper_takes_the_last_line_and_the_dash_before_it(finished_run: FinishedRun, family: int) -> None:
    """A list that ended with STARTTLS ends with the line before it, whose dash is a blank (RFC 5321 4.2.1)."""
    run = finished_run("stripper")
    at_client, at_server = both_ends(run, run.connection("last-line", family))
    assert at_server.stream("server").endswith(b"\r\n250-8BITMIME\r\n250-SIZE 14680064\r\n250 STARTTLS\r\n")
    assert at_client.stream("server").endswith(b"\r\n250-8BITMIME\r\n250 SIZE 14680064\r\n")
    assert at_client.lines("server") == without_starttls(at_server.lines("server"))
    assert_numbers_agree(at_client, at_server)


@pytest.mark.parametrize("family", FAMILIES)
def test_stripper_takes_capabilities_out_of_imap_and_pop(finished_run: FinishedRun, family: int) -> None:
    """In the greeting, in answers to CAPABILITY and CAPA; all else is as the server said it."""
    run = finished_run("stripper")
    for step in ("strict-imap", "strict-pop"):
        at_client, at_server = both_ends(run, run.connection(step, family))
        sent = at_server.stream("server")
        assert re.search(rb"\bSTARTTLS\b|^STLS\r\n", sent, re.M)
        assert at_client.stream("server") == re.sub(rb" STARTTLS\b|^STLS\r\n", b"", sent, flags=re.M)
        assert_numbers_agree(at_client, at_server)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("step", "asked", "instead", "answered", "refusal"),
    [
        ("ask-anyway", b"STARTTLS", b"NOOP", b"250 ", b"502 Command not implemented"),
        ("ask-anyway-imap", b"a2 STARTTLS", b"a2 NOOP", b"a2 OK ", b"a2 BAD STARTTLS not supported"),
        ("ask-anyway-pop", b"STLS", b"NOOP", b"-ERR ", b"-ERR STLS not supported"),
    ],
)
def test_stripper_refuses_who_asks_all_the_same(
    finished_run: FinishedRun,
    step: str,
    asked: bytes,
    instead: bytes,
    answered: bytes,
    refusal: bytes,
    family: int,
) -> None:
    """The server never sees the command, the client never sees its answer but, in SMTP, that of EAST's case O_1."""
    run = finished_run("stripper")
    at_client, at_server = both_ends(run, run.connection(step, family))
    assert at_client.lines("client").count(asked) == 1
    assert at_server.lines("client") == [
        instead if line == asked else line for line in at_client.lines("client")
    ]
    assert at_client.lines("server")[-2] == refusal
    assert at_server.lines("server")[-2].startswith(answered)
    assert_numbers_agree(at_client, at_server)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", REFUSALS)
def test_refusal_is_that_of_the_test_cases(finished_run: FinishedRun, step: str, family: int) -> None:
    """454, 502 and 354 with the texts of EAST's cases O_3, O_2 and O_4, where the server said 250; the list stays."""
    run = finished_run("stripper-refusals")
    at_client, at_server = both_ends(run, run.connection(step, family))
    refused = at_client.lines("client").index(b"STARTTLS")
    assert at_server.lines("client")[refused] == b"NOOP"
    pairs = list(zip(at_server.lines("server"), at_client.lines("server"), strict=True))
    changed = [(sent, came) for sent, came in pairs if sent != came]
    assert [came for _, came in changed] == [REFUSALS[step]]
    assert changed[0][0].startswith(b"250 ")
    assert any(came[4:] == b"STARTTLS" for _, came in pairs)
    assert_numbers_agree(at_client, at_server)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["told-bad", "told-bad-502", "told-bad-354"])
def test_refusal_in_imap_is_that_of_the_test_cases(finished_run: FinishedRun, step: str, family: int) -> None:
    """`BAD STARTTLS not supported` with the client's tag (EAST), whatever the box says in SMTP; the list stays."""
    run = finished_run("stripper-refusals")
    at_client, at_server = both_ends(run, run.connection(step, family))
    [tag] = [line.split()[0] for line in at_client.lines("client") if line.endswith(b" STARTTLS")]
    assert at_server.lines("client").count(tag + b" NOOP") == 1
    pairs = list(zip(at_server.lines("server"), at_client.lines("server"), strict=True))
    [(sent, came)] = [(sent, came) for sent, came in pairs if sent != came]
    assert came == tag + b" BAD STARTTLS not supported"
    assert sent.startswith(tag + b" OK ")
    assert any(b" STARTTLS" in line for line, _ in pairs if line.startswith(b"* CAPABILITY "))
    assert_numbers_agree(at_client, at_server)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("step", ["told-err", "told-err-502", "told-err-354"])
def test_refusal_in_pop_takes_the_place_of_the_servers_answer(
    finished_run: FinishedRun, step: str, family: int
) -> None:
    """-ERR to STLS, though the server was asked something else; CAPA's list still has it."""
    run = finished_run("stripper-refusals")
    at_client, at_server = both_ends(run, run.connection(step, family))
    assert at_server.lines("client") == [
        b"NOOP" if line == b"STLS" else line for line in at_client.lines("client")
    ]
    assert b"STLS" in at_client.lines("client")
    pairs = list(zip(at_server.lines("server"), at_client.lines("server"), strict=True))
    assert [came for sent, came in pairs if sent != came] == [b"-ERR STLS not supported"]
    assert (b"STLS", b"STLS") in pairs
    assert_numbers_agree(at_client, at_server)


@pytest.mark.parametrize("slug", ["stripper", "stripper-refusals"])
def test_stripper_leaves_nothing_for_wireshark_to_note(finished_run: FinishedRun, slug: str) -> None:
    """Links that lose nothing: no retransmission, nothing out of order or acknowledged unseen, at any end."""
    run = finished_run(slug)
    for capture in (run.directory / "captures").glob("*.pcapng"):
        if not capture.name.startswith("box-"):
            assert tshark(capture, NOTABLE) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_stripper_moves_the_servers_numbers_by_what_it_took(finished_run: FinishedRun, family: int) -> None:
    """Behind the list the server's bytes have numbers 14 lower at the client, their ACKs 14 higher at the server."""
    run = finished_run("stripper")
    at_client, at_server = both_ends(run, run.connection("opportunistic", family))
    assert at_server.next_number("server") - at_client.next_number("server") == TAKEN_FROM_EHLO
    cut = at_server.stream("server").index(b"250-STARTTLS\r\n") + 1
    there = [n for n, _ in at_server.segments("server")]
    assert [n for n, _ in at_client.segments("server")] == [n - TAKEN_FROM_EHLO * (n > cut) for n in there]
    said = at_client.acknowledged("client")
    assert at_server.acknowledged("client") == [n + TAKEN_FROM_EHLO * (n >= cut) for n in said]
    assert_numbers_agree(at_client, at_server)


@pytest.mark.parametrize("family", FAMILIES)
def test_long_mail_behind_a_refusal_arrives_whole(finished_run: FinishedRun, family: int) -> None:
    """200 kB of the client's own bytes, with numbers 4 lower at the server, ACKs 4 higher at the client."""
    run = finished_run("stripper-refusals")
    at_client, at_server = both_ends(run, run.connection("goes-on", family))
    sent = at_client.stream("client")
    assert len(sent) > 200_000
    assert at_server.stream("client") == sent.replace(b"\r\nSTARTTLS\r\n", b"\r\nNOOP\r\n")
    assert at_client.next_number("client") - at_server.next_number("client") == TAKEN_FROM_COMMAND
    assert_numbers_agree(at_client, at_server)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("step", "removed"), [("never-asks", b"250-STARTTLS\r\n"), ("is-refused", b"")])
def test_numbers_stay_right_where_links_lose_and_reorder(
    finished_run: FinishedRun, step: str, removed: bytes, family: int
) -> None:
    """All that a sender is told, ACKs and SACK edges alike, are boundaries of what it has sent; the mail is whole."""
    run = finished_run("stripper-lossy")
    at_client, at_server = both_ends(run, run.connection(step, family))
    sent = at_client.stream("client")
    assert len(sent) > 200_000
    assert at_server.stream("client") == sent.replace(b"\r\nSTARTTLS\r\n", b"\r\nNOOP\r\n")
    for end, who, other in ((at_client, "client", "server"), (at_server, "server", "client")):
        boundaries = {1, end.next_number(who)}
        for number, payload in end.segments(who):
            boundaries |= {number, number + len(payload)}
        assert set(end.acknowledged(other)) <= boundaries
        assert {edge for block in end.sacked(other) for edge in block} <= boundaries
    assert at_client.sacked("server") != []
    assert_numbers_agree(at_client, at_server, lossy=True)
    if removed:
        assert removed in at_server.stream("server")
        assert removed not in at_client.stream("server")


def test_wireshark_notes_only_what_lossy_links_do(finished_run: FinishedRun) -> None:
    """Nothing is acknowledged that was not seen, at any end: that only wrong numbers could bring about."""
    run = finished_run("stripper-lossy")
    for host in ("sim1", "sim2", "mail"):
        capture = run.directory / "captures" / f"{host}.pcapng"
        assert tshark(capture, "tcp.analysis.ack_lost_segment") == []
        assert tshark(capture, "tcp.checksum.status == 0", *CHECKING) == []
