"""Messages with a two-byte length in front (DNS and OpenVPN over TCP), put together from bytes that are cut anywhere.

Never holds more than one message, so at most 65,537 bytes.
"""

from __future__ import annotations

LENGTH_BYTES = 2


class FrameBuffer:
    """The message that one direction is in the middle of."""

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = bytearray()  # length and what there is of the message

    def take(self, data: bytes, position: int) -> tuple[bytes | None, int]:
        """The message that ends first in `data[position:]`, without its length, and the offset behind it.

        None if no message ends there: the bytes are kept for the next call.
        """
        pending = self.pending
        if not pending and position + LENGTH_BYTES <= len(data):
            start = position + LENGTH_BYTES
            end = start + (data[position] << 8 | data[position + 1])
            if end <= len(data):
                return data[start:end], end
        if len(pending) < LENGTH_BYTES:
            step = LENGTH_BYTES - len(pending)
            pending += data[position : position + step]
            position += step
            if len(pending) < LENGTH_BYTES:
                return None, len(data)
        missing = LENGTH_BYTES + (pending[0] << 8 | pending[1]) - len(pending)
        pending += data[position : position + missing]
        if len(data) - position < missing:
            return None, len(data)
        message = bytes(pending[LENGTH_BYTES:])
        pending.clear()
        return message, position + missing

    def clear(self) -> None:
        """Forget the unfinished message."""
        self.pending.clear()
