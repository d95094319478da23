"""The ladder on the screen: every line fits, forged packets are marked without colour, arrows tell where from."""

from __future__ import annotations

import pytest
from rich.text import Text

from scenarios.report.draw import draw
from scenarios.report.ladder import Row
from tests.unit.staged import Stage, handshake, starttls_block
from tests.unit.test_scenarios_report_ladder import rows_of

WIDTHS = (60, 80, 81, 120, 132)


def plain(lines: list[Text]) -> list[str]:
    return [line.plain for line in lines]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
def test_draw_every_line_fits_and_the_posts_stand(width: int, *, ascii_only: bool) -> None:
    """No line is wider than the terminal, and the three columns are straight."""
    stage = starttls_block()
    lines = draw(rows_of(stage), stage.ends, width=width, ascii_only=ascii_only)
    assert all(line.cell_len <= width for line in lines)
    packets = [line for line in lines if line.plain[:9].strip().replace(".", "").isdigit()]
    assert len({line.cell_len for line in packets}) == 1
    assert len({line.plain[10] in "|├│" for line in packets}) == 1


def test_draw_forged_packets_are_marked_and_start_at_the_box() -> None:
    """Towards the client the arrow ends at the box column, towards the server it starts there; both say FORGED."""
    stage = starttls_block()
    lines = plain(draw(rows_of(stage), stage.ends, width=80))
    to_client, to_server = [line for line in lines if "FORGED RST" in line]
    box = lines[1].index("┼")
    assert (to_client[11], to_client[box]) == ("◀", "┤")
    assert (to_server[box], to_server[-2]) == ("├", "▶")
    assert "by reset-both" in to_client
    assert "by reset-both" in to_server


def test_draw_forged_reply_says_first_what_it_says() -> None:
    """Its words are why it was made; flags and numbers are cut first where there is no room."""
    stage = Stage()
    handshake(stage)
    trigger = stage.send("client", "PA", b"RCPT TO:<falun@mail.example>\r\n")
    stage.forge("client", trigger, at_ms=stage.time_ms, flags="PA", payload=b"551 User not local\r\n")
    lines = plain(draw(rows_of(stage), stage.ends, width=100))
    assert any("↯ FORGED 551 User not local" in line for line in lines)


def test_draw_colour_of_the_time_ends_with_the_time() -> None:
    """A genuine packet has no colour of its own, so that a forged one stands out."""
    stage = starttls_block()
    lines = draw(rows_of(stage), stage.ends, width=80)
    assert not any(
        line.style for line in lines if "FORGED:" not in line.plain and "set off" not in line.plain
    )
    genuine = next(line for line in lines if "ehlo" in line.plain or "220 mail" in line.plain)
    assert {str(span.style) for span in genuine.spans if span.start >= 10} <= {"dim", "bold"}


def test_draw_trigger_is_marked_and_explained() -> None:
    """The packet that set the rule off has a sign, and a line says which rule."""
    stage = starttls_block()
    lines = plain(draw(rows_of(stage), stage.ends, width=80))
    assert any("◆ STARTTLS" in line for line in lines)
    assert any("◆ set off rule reset-both" in line for line in lines)


def test_draw_without_unicode_uses_plain_characters_only() -> None:
    """A terminal that knows only ASCII shows the same ladder."""
    stage = starttls_block()
    lines = plain(draw(rows_of(stage), stage.ends, width=80, ascii_only=True))
    assert all(line.isascii() for line in lines)
    assert sum("*** FORGED RST" in line for line in lines) == 2


def test_draw_dropped_packet_stops_at_the_box_and_says_why() -> None:
    """The arrow ends before the box column with a cross; the other half names the rule."""
    stage = Stage()
    handshake(stage)
    stage.drop("client", stage.send("client", "PA", b"forbidden", until="box-inside"))
    line = next(line for line in plain(draw(rows_of(stage), stage.ends, width=80)) if "forbidden" in line)
    assert "✗│ dropped by drop-it" in line


def test_draw_folded_rows_say_how_much() -> None:
    """A folded stretch is one line."""
    stage = starttls_block()
    row: Row = rows_of(stage)[0]
    folded = Row(
        time_ms=5.0, direction=row.direction, start=row.start, end=row.end, complete=True,
        words="214 packets, 280 kB, 90 ms", packets=214, n_bytes=280_000,
    )  # fmt: skip
    assert "… 214 packets, 280 kB, 90 ms" in draw([folded], stage.ends, width=80)[1].plain
