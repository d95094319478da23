"""What is wrong with a filter, and where."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class FilterError(ValueError):
    """A filter that cannot be used. `offset` counts characters from the start of its text.

    `line` and `column` (both from 1) are positions in `file`; `compile_filter` fills them in, given where the
    filter begins. `str()` is `file:line:column: message`.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.offset = offset
        self.file = ""
        self.line = 1
        self.column = offset + 1

    def locate(self, text: str, *, file: str, line: int, column: int) -> None:
        """Turn the offset into a position, for a filter whose first character is at line:column of file."""
        before = text[: self.offset]
        self.file = file
        self.line = line + before.count("\n")
        if self.line == line:
            self.column = column + self.offset
        else:
            self.column = self.offset - before.rfind("\n")

    def __str__(self) -> str:
        prefix = f"{self.file}:" if self.file else ""
        return f"{prefix}{self.line}:{self.column}: {self.message}"


def nearest(name: str, known: Iterable[str]) -> str:
    """`did you mean x?` for the known name that is most like `name`, or an empty string."""
    close = get_close_matches(name.lower(), list(known), n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else ""
