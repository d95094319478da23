"""Lines of a text protocol, put together from bytes that are cut anywhere.

Never holds more than MAX_LINE_BYTES of a line. A line ends with LF; the CR before it is part of the terminator.
"""

from __future__ import annotations

# `chosen`: more than the longest line a mail server must take, the 12,288 octets of RFC 4954 section 4 (AUTH).
MAX_LINE_BYTES = 16_384


class LineBuffer:
    """The line that one direction is in the middle of."""

    __slots__ = ("partial",)

    def __init__(self) -> None:
        self.partial = b""

    def take(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """The line that ends first in `data[position:]`, terminator included, and the offset after it.

        None if no line ends there: the bytes are kept for the next call. Of a line longer than MAX_LINE_BYTES the
        first MAX_LINE_BYTES are returned when it ends.
        """
        end = data.find(b"\n", position) + 1
        if not end:
            room = MAX_LINE_BYTES - len(self.partial)
            if room > 0:
                self.partial += data[position : position + room]
            return None, len(data)
        line = data[position:end]
        if self.partial:
            line = self.partial + line
            self.partial = b""
        return line[:MAX_LINE_BYTES], end

    def clear(self) -> None:
        """Forget the unfinished line."""
        self.partial = b""


def without_terminator(line: bytes) -> bytes:
    """The line without its CR LF, or without its bare LF."""
    if line.endswith(b"\r\n"):
        return line[:-2]
    if line.endswith(b"\n"):
        return line[:-1]
    return line


class DotBody:
    """A multi-line body that ends with a dot alone on a line (RFC 5321 section 4.1.1.4, RFC 1939 section 3)."""

    __slots__ = ("_tail", "open")

    _END = b"\r\n.\r\n"

    def __init__(self) -> None:
        self.open = False
        self._tail = b""  # the last bytes read, where the end may have begun

    def begin(self) -> None:
        """The body begins behind a line: a dot that comes at once ends it."""
        self.open = True
        self._tail = b"\r\n"

    def close(self) -> None:
        """There is no body after all."""
        self.open = False

    def skip(self, data: bytes, position: int) -> tuple[int, bool]:
        """The offset behind the body, and whether it ends in `data[position:]`; if not, that is `len(data)`."""
        seam = self._tail + data[position : position + len(self._END) - 1]
        found = seam.find(self._END)
        if found >= 0:
            self.open = False
            return position + found + len(self._END) - len(self._tail), True
        found = data.find(self._END, position)
        if found >= 0:
            self.open = False
            return found + len(self._END), True
        rest = len(data) - position
        self._tail = data[-4:] if rest >= 4 else (self._tail + data[position:])[-4:]
        return len(data), False
