"""SOCKS 4, 4a and 5 (RFC 1928, RFC 1929) on any TCP port: where the client wants to go.

Every message says itself what it is, so either direction can be read alone. What was asked for is behind the request
and the reply: TLS is read there, if the box wants it, and nothing else. Never keeps more than MAX_MESSAGE_BYTES.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from middlebox.dissect.base import NOTHING_ALIVE, Dissector, Fields, FieldSpec, FieldType, Value, add
from middlebox.dissect.tls import TlsDissector, TlsPlan
from middlebox.flow import Direction

_CLIENT, _SERVER = Direction.CLIENT_TO_SERVER, Direction.SERVER_TO_CLIENT

# The longest: user name and password of 255 bytes each. SOCKS 4 sets no limit to its names, so this is `chosen`.
MAX_MESSAGE_BYTES = 520
_IPV4, _NAME, _IPV6 = 1, 3, 4
_COMMANDS = frozenset({1, 2, 3})

_UINT, _STRING = FieldType.UINT, FieldType.STRING
Found = list[tuple[str, Value]]


class _NotSocksError(Exception):
    """These bytes are no SOCKS message. Never leaves this file."""


class SocksDissector(Dissector):
    """SOCKS: found by its first messages, refuted by the first byte that does not fit."""

    __slots__ = ("_behind", "_pending", "_step", "_tls", "_wanted")

    protocol: ClassVar[str] = "socks"
    FIELDS: ClassVar[Mapping[str, FieldSpec]] = {
        "socks": FieldSpec(FieldType.BOOL, None, "a SOCKS message is complete"),
        "socks.version": FieldSpec(_UINT, None, "4 or 5; 0 in an answer of SOCKS 4"),
        "socks.auth_method_count": FieldSpec(_UINT, _CLIENT, "methods that the client offers"),
        "socks.auth_method": FieldSpec(_UINT, _CLIENT, "each of them: 0 none, 2 user name and password"),
        "socks.auth_accepted_method": FieldSpec(_UINT, _SERVER, "the one that the server chose"),
        "socks.username": FieldSpec(_STRING, _CLIENT, "user name"),
        "socks.password": FieldSpec(_STRING, _CLIENT, "password, in clear"),
        "socks.command": FieldSpec(_UINT, _CLIENT, "1 connect, 2 bind, 3 UDP associate"),
        "socks.address_type": FieldSpec(_UINT, None, "1 IPv4, 3 name, 4 IPv6; SOCKS 5"),
        "socks.dst": FieldSpec(FieldType.IPV4, None, "address asked for, or bound by the server"),
        "socks.dstV6": FieldSpec(FieldType.IPV6, None, "address asked for, or bound by the server"),
        "socks.remote_name": FieldSpec(_STRING, None, "name asked for; SOCKS 5"),
        "socks.v4a_dns_name": FieldSpec(_STRING, _CLIENT, "name asked for; SOCKS 4a"),
        "socks.dstport": FieldSpec(_UINT, None, "port in SOCKS 4"),
        "socks.port": FieldSpec(_UINT, None, "port in SOCKS 5"),
        "socks.results": FieldSpec(_UINT, _SERVER, "0 or 90: granted"),
    }

    def __init__(self, fields: frozenset[str] | None, tls: TlsPlan | None = None) -> None:
        """`fields`: those that rules read, None for all. `tls`: what to read behind the request."""
        self._wanted = frozenset(self.FIELDS if fields is None else fields)
        self._pending = [b"", b""]
        self._step = [0, 0]  # messages read
        self._behind = [False, False]  # what was asked for has begun
        self._tls = TlsDissector(tls) if tls else None
        self.alive = NOTHING_ALIVE
        self._renew_alive()
        self.couples_directions = False

    def feed(self, direction: Direction, data: bytes, fields: Fields) -> None:
        if not data or not self.alive[direction]:
            return
        data = self._pending[direction] + data
        self._pending[direction] = b""
        position = 0
        read = _client_message if direction is _CLIENT else _server_message
        try:
            while position < len(data) and not self._behind[direction]:
                end, found, self._behind[direction] = read(data, position, self._step[direction])
                if end < 0:
                    if len(data) - position > MAX_MESSAGE_BYTES:
                        raise _NotSocksError
                    self._pending[direction] = data[position:]
                    return
                position = end
                self._step[direction] += 1
                self._report(found, fields)
        except _NotSocksError:
            self.alive = NOTHING_ALIVE
            return
        if self._behind[direction]:
            if self._tls is not None and position < len(data):
                self._tls.feed(direction, data[position:], fields)
            self._renew_alive()

    def restart(self, direction: Direction) -> None:
        self._pending[direction] = b""
        if self._tls is not None and self._behind[direction]:
            self._tls.restart(direction)

    def _report(self, found: Found, fields: Fields) -> None:
        if "socks" in self._wanted:
            fields["socks"] = [True]
        for name, value in found:
            if name in self._wanted:
                add(fields, name, value)

    def _renew_alive(self) -> None:
        tls = self._tls.alive if self._tls is not None else NOTHING_ALIVE
        client, server = (tls[end] if self._behind[end] else tls[end] | {"socks"} for end in Direction)
        if (client, server) != self.alive:
            self.alive = (client, server)


def _client_message(data: bytes, start: int, step: int) -> tuple[int, Found, bool]:
    """A message of the client at `start`: offset behind it (-1: not complete), fields, whether it is the last one."""
    version = data[start]
    if step == 0 and version == 4:
        return _request_v4(data, start)
    if step == 0 and version == 5:
        return _offer(data, start)
    if step == 1 and version == 1:
        return _credentials(data, start)
    if step in (1, 2) and version == 5:
        if start + 1 < len(data) and data[start + 1] not in _COMMANDS:
            raise _NotSocksError
        end, address = _address(data, start + 3)
        if end < 0:
            return -1, [], False
        return end, [("socks.version", 5), ("socks.command", data[start + 1]), *address], True
    raise _NotSocksError


def _server_message(data: bytes, start: int, step: int) -> tuple[int, Found, bool]:
    """A message of the server, likewise."""
    version = data[start]
    if step == 0 and version == 0:  # the answer of SOCKS 4
        if start + 1 < len(data) and not 90 <= data[start + 1] <= 93:
            raise _NotSocksError
        if start + 8 > len(data):
            return -1, [], False
        port = int.from_bytes(data[start + 2 : start + 4], "big")
        found: Found = [("socks.version", 0), ("socks.results", data[start + 1]), ("socks.dstport", port)]
        return start + 8, [*found, ("socks.dst", data[start + 4 : start + 8])], True
    if step == 0 and version == 5:
        if start + 2 > len(data):
            return -1, [], False
        return start + 2, [("socks.version", 5), ("socks.auth_accepted_method", data[start + 1])], False
    if step == 1 and version == 1:
        return (start + 2, [("socks.version", 5)], False) if start + 2 <= len(data) else (-1, [], False)
    if step in (1, 2) and version == 5:
        end, address = _address(data, start + 3)
        if end < 0:
            return -1, [], False
        return end, [("socks.version", 5), ("socks.results", data[start + 1]), *address], True
    raise _NotSocksError


def _offer(data: bytes, start: int) -> tuple[int, Found, bool]:
    """The methods of RFC 1928 section 3. None of them is 255."""
    if start + 2 > len(data):
        return -1, [], False
    count = data[start + 1]
    end = start + 2 + count
    methods = data[start + 2 : end]
    if not count or any(9 < method < 0x80 or method == 0xFF for method in methods):
        raise _NotSocksError
    if end > len(data):
        return -1, [], False
    found: Found = [("socks.version", 5), ("socks.auth_method_count", count)]
    return end, found + [("socks.auth_method", method) for method in methods], False


def _credentials(data: bytes, start: int) -> tuple[int, Found, bool]:
    """User name and password (RFC 1929 section 2)."""
    position = start + 1
    texts = []
    for _ in range(2):
        if position >= len(data):
            return -1, [], False
        end = position + 1 + data[position]
        texts.append(data[position + 1 : end].decode("latin-1"))
        position = end
    if position > len(data):
        return -1, [], False
    found: Found = [("socks.version", 5), ("socks.username", texts[0]), ("socks.password", texts[1])]
    return position, found, False


def _request_v4(data: bytes, start: int) -> tuple[int, Found, bool]:
    """A request of SOCKS 4, or of 4a: address 0.0.0.x, and a name behind the user."""
    if start + 1 < len(data) and data[start + 1] not in (1, 2):
        raise _NotSocksError
    user = data.find(b"\0", start + 8)
    if user < 0:
        return -1, [], False
    address = data[start + 4 : start + 8]
    found: Found = [
        ("socks.version", 4),
        ("socks.command", data[start + 1]),
        ("socks.dstport", int.from_bytes(data[start + 2 : start + 4], "big")),
        ("socks.dst", address),
        ("socks.username", data[start + 8 : user].decode("latin-1")),
    ]
    if address[:3] != b"\0\0\0" or address[3] == 0:
        return user + 1, found, True
    name = data.find(b"\0", user + 1)
    if name < 0:
        return -1, [], False
    return name + 1, [*found, ("socks.v4a_dns_name", data[user + 1 : name].decode("latin-1"))], True


def _address(data: bytes, position: int) -> tuple[int, Found]:
    """Address type, address and port of SOCKS 5 at `position`, and the offset behind them, -1 if they are cut off."""
    if position >= len(data):
        return -1, []
    kind = data[position]
    position += 1
    found: Found = [("socks.address_type", kind)]
    if kind == _NAME:
        if position >= len(data):
            return -1, []
        end = position + 1 + data[position]
        found.append(("socks.remote_name", data[position + 1 : end].decode("latin-1")))
    elif kind in (_IPV4, _IPV6):
        end = position + (4 if kind == _IPV4 else 16)
        found.append(("socks.dst" if kind == _IPV4 else "socks.dstV6", data[position:end]))
    else:
        raise _NotSocksError
    if end + 2 > len(data):
        return -1, []
    return end + 2, [*found, ("socks.port", int.from_bytes(data[end : end + 2], "big"))]
