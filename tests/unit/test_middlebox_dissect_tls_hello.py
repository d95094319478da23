"""ClientHello and ServerHello, field by field, against hellos that scapy builds."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from scapy.layers.tls.extensions import (
    ProtocolName as AlpnName,
    ServerName,
    TLS_Ext_ALPN,
    TLS_Ext_ServerName,
    TLS_Ext_SupportedGroups,
    TLS_Ext_SupportedVersion_CH,
)
from scapy.layers.tls.handshake import TLSClientHello

from middlebox.dissect.base import Fields
from middlebox.dissect.tls_hello import (
    CLIENT_HELLO,
    HELLO_FIELDS,
    SERVER_HELLO,
    HelloReader,
    is_retry_request,
)

READER = HelloReader(frozenset(HELLO_FIELDS))


def hello_body(extensions: Sequence[object]) -> bytes:
    hello = TLSClientHello(
        gmt_unix_time=0x01020304,
        random_bytes=bytes(28),
        sid=b"session!",
        ciphers=[0x0A0A, 0x1301, 0xC02F],
        comp=[0],
        ext=list(extensions),
    )
    return bytes(hello)[4:]


def read(body: bytes, kind: int = CLIENT_HELLO) -> Fields:
    fields: Fields = {}
    READER.read(kind, body, 0, len(body), fields)
    return fields


def test_client_hello_fields_are_those_that_scapy_wrote() -> None:
    """Every field of a ClientHello that scapy builds is read back, GREASE values among them."""
    body = hello_body(
        [
            TLS_Ext_ServerName(servernames=[ServerName(servername=b"web.example")]),
            TLS_Ext_SupportedGroups(groups=[0x1A1A, 29]),
            TLS_Ext_ALPN(protocols=[AlpnName(protocol=b"h2"), AlpnName(protocol=b"http/1.1")]),
            TLS_Ext_SupportedVersion_CH(versions=[0x2A2A, 0x0304, 0x0303]),
        ]
    )
    assert read(body) == {
        "tls.handshake.version": [0x0303],
        "tls.handshake.random": [b"\x01\x02\x03\x04" + bytes(28)],
        "tls.handshake.session_id_length": [8],
        "tls.handshake.session_id": [b"session!"],
        "tls.handshake.cipher_suites_length": [6],
        "tls.handshake.ciphersuite": [0x0A0A, 0x1301, 0xC02F],
        "tls.handshake.comp_method": [0],
        "tls.handshake.extensions_length": [4 + 16 + 4 + 6 + 4 + 14 + 4 + 7],
        "tls.handshake.extension.type": [0, 10, 16, 43],
        "tls.handshake.extension.len": [16, 6, 14, 7],
        "tls.handshake.extensions_server_name": ["web.example"],
        "tls.handshake.extensions_supported_group": [0x1A1A, 29],
        "tls.handshake.extensions_alpn_str": ["h2", "http/1.1"],
        "tls.handshake.extensions.supported_version": [0x2A2A, 0x0304, 0x0303],
    }


def test_hello_without_extensions_has_none() -> None:
    """A hello may end behind its compression methods."""
    fields = read(bytes(34) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00")
    assert fields["tls.handshake.ciphersuite"] == [0x1301]
    assert "tls.handshake.extension.type" not in fields


def test_server_hello_says_whether_it_chose_tls_13() -> None:
    """The version in the supported_versions extension counts, not the one in front."""
    head = b"\x03\x03" + bytes(32) + b"\x00" + b"\x13\x01" + b"\x00"
    tls13 = head + b"\x00\x06\x00\x2b\x00\x02\x03\x04"
    assert READER.read(SERVER_HELLO, tls13, 0, len(tls13), {})
    assert not READER.read(SERVER_HELLO, head, 0, len(head), {})


def test_retry_request_is_known_by_its_random() -> None:
    """HelloRetryRequest is a ServerHello whose random is the hash that RFC 8446 gives."""
    random = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")
    assert is_retry_request(b"\x03\x03" + random, 0)
    assert not is_retry_request(b"\x03\x03" + bytes(32), 0)


@pytest.mark.parametrize("kind", [CLIENT_HELLO, SERVER_HELLO])
def test_hello_cut_short_anywhere_is_read_as_far_as_it_goes(kind: int) -> None:
    """A hello that ends too early raises nothing and has no value that the whole one has not."""
    body = hello_body([TLS_Ext_ServerName(servernames=[ServerName(servername=b"web.example")])])
    whole = read(body)
    for size in range(len(body)):
        fields = read(body[:size], kind)
        if kind == CLIENT_HELLO:
            assert all(fields[name] == whole[name][: len(fields[name])] for name in fields)
