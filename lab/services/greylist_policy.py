"""A greylisting policy server for Postfix: the first attempt of a mail gets 450, the next one is let in, once.

Usage: greylist_policy.py PORT

Speaks Postfix's policy protocol on 127.0.0.1: lines `name=value`, an empty line, then `action=...` and an empty line
back. A real one makes the client wait for minutes, and remembers who came back; this one forgets, so that every mail of
a run meets the same (chosen). Standard library only.

Source: Postfix's SMTPD_POLICY_README; RFC 6647 (greylisting).
"""

from __future__ import annotations

import socketserver
import sys

DEFER = "450 4.2.0 Greylisted, please try again later"
TRIPLET = ("client_address", "sender", "recipient")

_seen: set[tuple[str, ...]] = set()


def decide(request: dict[str, str]) -> str:
    """The action for one recipient."""
    triplet = tuple(request.get(name, "") for name in TRIPLET)
    if triplet in _seen:
        _seen.remove(triplet)
        return "DUNNO"
    _seen.add(triplet)
    return DEFER


class Conversation(socketserver.StreamRequestHandler):
    """One of Postfix's processes, which asks about one recipient after the other."""

    def handle(self) -> None:
        request: dict[str, str] = {}
        for raw in self.rfile:
            line = raw.decode(errors="replace").strip()
            if line:
                name, _, value = line.partition("=")
                request[name] = value
            else:
                self.wfile.write(f"action={decide(request)}\n\n".encode())
                request = {}


class Server(socketserver.ThreadingTCPServer):
    """On the host itself, for Postfix only."""

    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Conversation).serve_forever()
