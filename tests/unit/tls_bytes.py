"""Builds TLS records and hello messages (RFC 8446 sections 4.1 and 5.1) for tests."""

from __future__ import annotations


def vector(size: int, content: bytes) -> bytes:
    return len(content).to_bytes(size, "big") + content


def record(kind: int, body: bytes, version: int = 0x0303) -> bytes:
    return bytes([kind]) + version.to_bytes(2, "big") + vector(2, body)


def message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + vector(3, body)


def client_hello(name: str = "web.example", extensions: bytes = b"") -> bytes:
    """A ClientHello message, without a record around it."""
    server_name = b"\x00\x00" + vector(2, vector(2, b"\x00" + vector(2, name.encode())))
    suites = vector(2, b"\x0a\x0a\x13\x01")
    return message(
        1, b"\x03\x03" + bytes(32) + b"\x00" + suites + b"\x01\x00" + vector(2, server_name + extensions)
    )


def server_hello(random: bytes = bytes(32), *, tls13: bool = False) -> bytes:
    extensions = b"\x00\x2b\x00\x02\x03\x04" if tls13 else b""
    return message(2, b"\x03\x03" + random + b"\x00" + b"\x13\x01" + b"\x00" + vector(2, extensions))
