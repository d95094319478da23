"""The process behind the client `tcp-script`, with a socket pair for its connection."""

from __future__ import annotations

import socket
from typing import Any

from lab.clients.tcp_script_child import play


def test_receive_of_a_text_waits_for_its_end_and_leaves_the_rest_to_the_next_line() -> None:
    """What comes behind the text belongs to the next `receive`, of whichever kind."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"220 ready\r\n250-one\r\n250 two\r\nrest")
        theirs.shutdown(socket.SHUT_WR)
        report: dict[str, Any] = {}
        script = [("receive", "\r\n", 0), ("receive", "250 ", 0), ("receive", "", 9), ("receive", "more", 0)]
        assert play(ours, script, report) == "closed"
        assert report["line"] == 3
