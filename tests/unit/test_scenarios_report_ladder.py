"""The ladder as data: where each packet set out and got to, what it said, what was folded."""

from __future__ import annotations

from typing import Any

from middlebox.flow import Direction
from scenarios.explanation import explain
from scenarios.journeys import collect
from scenarios.report.ladder import AFTERWARDS, FOLD_FROM, MAX_ROWS, Column, Row, ladder, shortened
from tests.unit.staged import Stage, handshake, starttls_block


def rows_of(stage: Stage, **options: bool) -> list[Row]:
    journeys = collect(stage.sorted(), stage.world)
    explain(journeys, stage.events)
    return ladder(journeys, stage.ends, **options)


def test_ladder_incident_reads_like_the_story() -> None:
    """Handshake, greeting, EHLO, STARTTLS as the trigger, two forged RSTs."""
    rows = rows_of(starttls_block())
    assert [row.text or row.words for row in rows] == [
        "SYN", "SYN+ACK", "ACK", "220 mail.example ESMTP", "ACK", "ehlo lab.example", "250-mail.example (+3 lines)",
        "STARTTLS", "RST", "RST",
    ]  # fmt: skip
    assert [row.triggered for row in rows if row.triggered] == [("reset-both",)]


def test_ladder_forged_packets_set_out_at_the_box() -> None:
    """Towards the client from box to client, towards the server from box to server; genuine ones all the way."""
    rows = rows_of(starttls_block())
    assert [(row.start, row.end) for row in rows[-2:]] == [
        (Column.BOX, Column.CLIENT),
        (Column.BOX, Column.SERVER),
    ]
    assert [row.forged for row in rows[-2:]] == ["reset-both", "reset-both"]
    assert (rows[0].start, rows[0].end) == (Column.CLIENT, Column.SERVER)


def test_ladder_numbers_are_relative_over_the_wrap() -> None:
    """Sequence numbers count from each side's first one, though the client's wraps after six bytes."""
    rows = rows_of(starttls_block())
    assert [row.numbers for row in rows if row.text] == [
        "seq 1 ack 1", "seq 1 ack 25", "seq 25 ack 19", "seq 19 ack 86",
    ]  # fmt: skip
    assert [row.numbers for row in rows if row.forged] == ["seq 86", "seq 29"]


def test_ladder_dropped_packet_ends_at_the_box() -> None:
    """A packet that never left the box, and one that got lost after it."""
    stage = Stage()
    handshake(stage)
    data = stage.send("client", "PA", b"forbidden", until="box-inside")
    stage.drop("client", data)
    stage.send("server", "PA", b"lost", until="box-inside")
    dropped, lost = rows_of(stage)[-2:]
    assert (dropped.end, dropped.complete, dropped.dropped) == (Column.BOX, False, "drop-it")
    assert (lost.end, lost.complete, lost.dropped) == (Column.BOX, False, "")


def test_ladder_long_transfers_are_folded_and_can_be_unfolded() -> None:
    """Packets that say nothing new become one row that counts them; what matters stays a row of its own."""
    stage = Stage()
    handshake(stage)
    for _ in range(FOLD_FROM + 3):
        stage.send("server", "A", bytes(1000), wait_ms=1)
    stage.send("client", "R")
    rows = rows_of(stage)
    assert [row.words for row in rows] == ["SYN", "SYN+ACK", "9 packets, 8 kB, 8 ms", "RST"]
    assert (rows[2].packets, rows[2].n_bytes) == (9, 8000)
    assert len(rows_of(stage, fold=False)) == 12


def test_ladder_reset_after_a_forged_one_is_called_what_it_is() -> None:
    """A kernel's answer to late data is not the end of the story."""
    stage = starttls_block()
    stage.time_ms += 100
    stage.send("client", "R")
    assert rows_of(stage)[-1].text == AFTERWARDS


def test_ladder_only_some_packets_keep_their_times_and_numbers() -> None:
    """Evidence shows a few packets of a flow as the whole ladder would."""
    stage = starttls_block()
    journeys = collect(stage.sorted(), stage.world)
    explain(journeys, stage.events)
    forged = {id(journey) for journey in journeys if journey.forged}
    assert ladder(journeys, stage.ends, only=forged) == rows_of(stage)[-2:]


def test_ladder_rows_survive_json() -> None:
    """What result.json holds is what was drawn."""
    rows = rows_of(starttls_block())
    assert [Row.from_json(row.as_json()) for row in rows] == rows


def row(number: int, **changes: Any) -> Row:
    return Row(
        time_ms=float(number), direction=Direction.CLIENT_TO_SERVER, start=Column.CLIENT, end=Column.SERVER,
        complete=True, words="ACK", text=f"packet {number}", n_bytes=10, **changes,
    )  # fmt: skip


def test_ladder_shortened_keeps_beginning_end_and_what_the_box_did() -> None:
    """Three hundred packets, one of them a trigger and one forged, in forty rows; no packet is uncounted."""
    rows = [row(number) for number in range(300)]
    rows[150].triggered, rows[151].forged = ("keyword",), "keyword"
    short = shortened(rows)
    assert len(short) <= MAX_ROWS
    assert sum(one.packets for one in short) == 300
    assert sum(one.n_bytes for one in short) == 3000
    assert (short[0], short[-1]) == (rows[0], rows[-1])
    at = short.index(rows[150])
    assert short[at + 1] is rows[151]
    assert short[at - 1].words == "124 packets, 1.24 kB, 123 ms"


def test_ladder_shortened_folds_what_the_box_did_too_where_it_is_too_much() -> None:
    """A policer drops every other packet: the limit holds all the same."""
    rows = [row(number, dropped="police" if number % 2 else "") for number in range(300)]
    short = shortened(rows)
    assert len(short) <= MAX_ROWS
    assert sum(one.packets for one in short) == 300


def test_ladder_that_is_short_stays_as_it_is() -> None:
    """Nothing is folded for its own sake."""
    rows = [row(number) for number in range(MAX_ROWS)]
    assert shortened(rows) == rows


def test_ladder_of_a_flow_without_packets_is_empty() -> None:
    """No packets, no rows."""
    assert ladder([], Stage().ends) == []
