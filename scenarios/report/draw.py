"""The packet ladder on the screen: three columns, client | box | server, an arrow per packet.

Forged, dropped and triggering packets are marked by signs and words; colour only repeats it. Without Unicode (or with
`ascii_only`) plain characters take over.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from scenarios.record import FlowEnds
from scenarios.report.ladder import Column, Row

TIME_CELLS = 9
MIN_WIDTH, MAX_WIDTH = 60, 132

_STYLES = {
    "forged": "bold red",
    "dropped": "bold magenta",
    "rewritten": "bold magenta",
    "trigger": "bold yellow",
    "line": "dim",
    "time": "cyan",
}


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters a ladder is drawn with."""

    post: str
    line: str
    cross: str
    leave_right: str
    leave_left: str
    right: str
    left: str
    lost: str
    forged: str
    trigger: str
    rewritten: str
    more: str


UNICODE = Signs("│", "─", "┼", "├", "┤", "▶", "◀", "✗", "↯ FORGED", "◆", "≠ NOW", "…")
ASCII = Signs("|", "-", "+", "|", "|", ">", "<", "X", "*** FORGED", "@", "*** NOW", "...")


def draw(rows: Sequence[Row], flow: FlowEnds, *, width: int, ascii_only: bool = False) -> list[Text]:
    """The lines of a ladder, each `width` cells or less."""
    signs = ASCII if ascii_only else UNICODE
    width = max(MIN_WIDTH, min(width, MAX_WIDTH))
    half = (width - TIME_CELLS - 4) // 2
    pen = _Pen(signs, half)
    lines = [pen.heading(flow.client_host, flow.server_host)]
    lines += [pen.fold(row) if row.folded else pen.packet(row) for row in rows]
    return [*lines, *pen.legend(rows)]


@dataclass(frozen=True, slots=True)
class _Pen:
    signs: Signs
    half: int  # cells between two posts

    def heading(self, client: str, server: str) -> Text:
        line = Text.assemble(("ms".rjust(TIME_CELLS) + " ", "dim"))
        inner = 2 * self.half + 3
        left, middle, right = f"client {client}", "box", f"server {server}"
        gap = self.half + 1 - len(left) - 1
        line.append(left + " " * max(gap, 1) + middle, style="bold")
        used = len(left) + max(gap, 1) + len(middle)
        line.append(" " * max(inner - used - len(right), 1) + right, style="bold")
        return line

    def fold(self, row: Row) -> Text:
        words = f"{self.signs.more} {row.words} {self.signs.more}"
        return self._line(
            row, Text(self._fit(words, self.half), "dim"), self.signs.post, Text(" " * self.half)
        )

    def packet(self, row: Row) -> Text:
        near, far = (Column.CLIENT, Column.SERVER) if row.rightward else (Column.SERVER, Column.CLIENT)
        from_sender, to_receiver = row.start == near, row.end == far
        note = self._note(row)
        first = self._half(row, self._main_words(row), goes_on=to_receiver) if from_sender else note
        second = self._half(row, self._other_words(row), goes_on=False) if to_receiver else note
        middle = self.signs.cross if from_sender and to_receiver else self._box_post(row)
        left, right = (first, second) if row.rightward else (second, first)
        return self._line(row, left, middle, right, self._end_posts(row))

    def _line(
        self, row: Row, left: Text, middle: str, right: Text, ends: tuple[str, str] | None = None
    ) -> Text:
        first, last = ends or (self.signs.post, self.signs.post)
        line = Text.assemble((f"{row.time_ms:{TIME_CELLS}.2f} ", _STYLES["time"]))
        for post, half in ((first, left), (middle, right)):
            line.append(post, style="dim")
            line.append_text(half)
        line.append(last, style="dim")
        return line

    def _half(self, row: Row, label: str, *, goes_on: bool) -> Text:
        """An arrow through half the ladder; without a head where it goes on into the other half."""
        head = self.signs.right if row.rightward else self.signs.left
        if goes_on or not row.complete:
            head = "" if goes_on else self.signs.lost
        room = self.half - cell_len(head) - 5
        label = self._cut(label, room)
        style = self._style(row)
        before = self.signs.line * 2
        middle = f" {label} " if label else self.signs.line
        after = self.signs.line * (self.half - cell_len(head) - 2 - cell_len(middle))
        text = Text()
        if not row.rightward:
            text.append(head, style=style or "bold")
        text.append(before, style=style or "dim")
        text.append(middle, style=style or ("bold" if row.text else ""))
        text.append(after, style=style or "dim")
        if row.rightward:
            text.append(head, style=style or "bold")
        return text

    def _main_words(self, row: Row) -> str:
        words = row.text or row.words
        if row.triggered:
            words = f"{self.signs.trigger} {words}"
        return words

    def _other_words(self, row: Row) -> str:
        if row.forged:
            return _joined(self.signs.forged, row.text, row.words, row.numbers)
        if row.start == Column.BOX:
            return _joined(row.words, row.text)
        if row.rewritten:
            return _joined(self.signs.rewritten, row.numbers)
        return _joined(row.words, row.numbers) if row.text else row.numbers

    def _note(self, row: Row) -> Text:
        """What stands in the half that the packet never saw."""
        words = f"by {row.forged}" if row.forged else f"dropped by {row.dropped}" if row.dropped else "lost"
        return Text(self._fit(f" {words}", self.half), style=self._style(row) or "dim")

    def _box_post(self, row: Row) -> str:
        if row.start == Column.BOX:
            return self.signs.leave_right if row.rightward else self.signs.leave_left
        return self.signs.post

    def _end_posts(self, row: Row) -> tuple[str, str]:
        post = self.signs.post
        if row.start == Column.CLIENT and row.rightward:
            return self.signs.leave_right, post
        if row.start == Column.SERVER and not row.rightward:
            return post, self.signs.leave_left
        return post, post

    def _style(self, row: Row) -> str:
        if row.forged:
            return _STYLES["forged"]
        if row.dropped or row.rewritten:
            return _STYLES["dropped"]
        return _STYLES["trigger"] if row.triggered else ""

    def _cut(self, text: str, cells: int) -> str:
        if cell_len(text) <= cells:
            return text
        more = self.signs.more
        return set_cell_size(text, cells - cell_len(more)).rstrip() + more

    def _fit(self, text: str, cells: int) -> str:
        text = self._cut(text, cells)
        return text + " " * (cells - cell_len(text))

    def legend(self, rows: Sequence[Row]) -> list[Text]:
        """What the signs mean, only those that occur."""
        indent = " " * (TIME_CELLS + 1)
        triggered = dict.fromkeys(rule for row in rows for rule in row.triggered)
        lines = [
            Text(f"{indent}{self.signs.trigger} set off rule {rule}", _STYLES["trigger"])
            for rule in triggered
        ]
        rewriters = dict.fromkeys(row.rewritten for row in rows if row.rewritten)
        rewritten = self.signs.rewritten
        lines += [
            Text(f"{indent}{rewritten}: what rule {rule} made of it", _STYLES["rewritten"])
            for rule in rewriters
        ]
        if any(row.forged for row in rows):
            lines.append(
                Text(f"{indent}{self.signs.forged}: by the box, in the other end's name", _STYLES["forged"])
            )
        if any(not row.complete for row in rows):
            lines.append(Text(f"{indent}{self.signs.lost} got no further", "dim"))
        return lines


def _joined(*words: str) -> str:
    return " ".join(filter(None, words))
