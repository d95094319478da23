"""EDGE. The ground truth on disk: one event, one JSON object, one line.

Writing an event down must not hold up a packet: events are kept as they are and turned into text when the loop has
nothing else to do, when there are many of them, and at the end. A line is written whole or not at all.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from ipaddress import IPv6Address
from pathlib import Path
from socket import AF_INET, AF_INET6, inet_ntop
from types import TracebackType
from typing import Final, Self

from middlebox.community import community_id
from middlebox.events import PROTOCOL_NAMES, SCHEMA, Event, FlowName

EVENTS_KEPT: Final = 4096
"""From so many waiting events on, each new one has some older ones written out (chosen)."""
EVENTS_AT_ONCE: Final = 64
"""About half a millisecond of work (chosen): a packet may be waiting."""

_LIKE_IPV4 = bytes(8)


class EventLog:
    """`events.jsonl`, as a context manager: leaving it writes out everything, whatever happened."""

    def __init__(self, path: Path) -> None:
        """OSError: the file cannot be made. What it held before is gone."""
        self._file = path.open("wb", buffering=0)
        self._waiting: list[Event] = []

    def write(self, events: Iterable[Event]) -> None:
        """Take events over; they are on disk after the next `flush`."""
        self._waiting += events
        if len(self._waiting) >= EVENTS_KEPT:
            self.flush(EVENTS_AT_ONCE)

    @property
    def pending(self) -> bool:
        return bool(self._waiting)

    def flush(self, limit: int = sys.maxsize) -> None:
        """Write down what waits, the oldest `limit` events of it."""
        written, self._waiting = self._waiting[:limit], self._waiting[limit:]
        if not written:
            return
        lines = memoryview(json_lines(written))
        while lines:  # a full disk raises, a signal does not lose the rest
            lines = lines[os.write(self._file.fileno(), lines) :]

    def close(self) -> None:
        try:
            self.flush()
        finally:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def json_lines(events: Iterable[Event]) -> bytes:
    """The same as `json.dumps(event.as_json())` for each, quicker: a box sees thousands of new connections a second."""
    lines = []
    flow: FlowName | None = None
    flow_text = ""
    for event in events:
        head = f'{{"event":"{event.kind}","time_ns":{event.time_ns},"schema":{SCHEMA}'
        if event.flow is not None:
            if event.flow is not flow:  # the events of one packet name one flow
                flow = event.flow
                flow_text = _flow_text(flow)
            head += flow_text
        if event.details:
            head += "," + json.dumps(event.details, separators=(",", ":"))[1:]
        else:
            head += "}"
        lines.append(head)
    lines.append("")
    return "\n".join(lines).encode()


def _flow_text(flow: FlowName) -> str:
    protocol = PROTOCOL_NAMES.get(flow.protocol, str(flow.protocol))
    name = community_id(flow.client, flow.client_port, flow.server, flow.server_port, flow.protocol)
    return (
        f',"flow":{{"client":"{_address(flow.client)}","client_port":{flow.client_port},'
        f'"server":"{_address(flow.server)}","server_port":{flow.server_port},'
        f'"protocol":"{protocol}","community_id":"{name}"}}'
    )


def _address(address: bytes) -> str:
    if len(address) == 4:
        return inet_ntop(AF_INET, address)
    if address.startswith(_LIKE_IPV4):  # here the two ways to write it differ
        return str(IPv6Address(address))
    return inet_ntop(AF_INET6, address)
