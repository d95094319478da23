"""One TCP connection by script. Started by tcp_script.py on a host.

Usage: tcp_script_child.py SETTINGS.json

Each line of the script is [verb, text, size]: `send` text, `receive` size bytes or, where there is a text, all up to
its end, `end` wait until the other side ends, `abort` end by RST, `pause` say so on stdout and wait for a line on
stdin. The last line on stdout is `report: ` and a JSON object: `ended` (done | closed | error), `errno`, `name`
(whether it was the name that could not be resolved), `line` (of the script, from 0). Standard library only.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
from pathlib import Path
from typing import Any

READ_BYTES = 65_536


def connect(settings: dict[str, Any]) -> socket.socket:
    wanted = {4: socket.AF_INET, 6: socket.AF_INET6, None: socket.AF_UNSPEC}[settings["family"]]
    found = socket.getaddrinfo(settings["server"], settings["port"], wanted, socket.SOCK_STREAM)
    family, kind, protocol, _, address = found[0]
    connection = socket.socket(family, kind, protocol)
    connection.connect(address)
    return connection


def play(connection: socket.socket, script: list[tuple[str, str, int]], report: dict[str, Any]) -> str:
    """Do every line; how it ended: `done`, or `closed` when the other side ended before its time."""
    unread = b""  # received, and not yet asked for
    for number, (verb, text, size) in enumerate(script):
        report["line"] = number
        if verb == "send":
            connection.sendall(text.encode("latin-1"))
        elif verb == "receive":
            wanted = text.encode("latin-1")
            while wanted not in unread if wanted else len(unread) < size:
                data = connection.recv(READ_BYTES)
                if not data:
                    return "closed"
                unread += data
            unread = unread.partition(wanted)[2] if wanted else unread[size:]
        elif verb == "end":
            while connection.recv(READ_BYTES):
                pass
        elif verb == "abort":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
            return "done"
        else:
            print(verb, flush=True)
            sys.stdin.readline()
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(READ_BYTES):
        pass
    connection.close()
    return "done"


def main() -> int:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    report: dict[str, Any] = {"ended": "error", "errno": None, "name": False, "line": None}
    try:
        connection = connect(settings)
        report["ended"] = play(connection, settings["script"], report)
    except OSError as error:
        print(error, file=sys.stderr)
        report |= {"errno": error.errno, "name": isinstance(error, socket.gaierror)}
    print("report: " + json.dumps(report), flush=True)
    return 0 if report["ended"] == "done" else 1


if __name__ == "__main__":
    sys.exit(main())
