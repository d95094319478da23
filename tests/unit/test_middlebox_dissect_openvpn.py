"""OpenVPN: which first packets are a client's hard reset, over UDP and TCP, and what is refuted."""

from __future__ import annotations

import pytest

from middlebox.dissect.openvpn import OpenvpnDatagramDissector, OpenvpnStreamDissector, may_be_reset
from tests.unit.dissect_talk import DEAD, C, S, feed
from tests.unit.tls_bytes import client_hello, record

SESSION = bytes.fromhex("0102030405060708")
REPLAY = b"\x00\x00\x00\x01\x67\x00\x00\x00"  # packet ID 1, a time

PLAIN = b"\x38" + SESSION + bytes(5)
TLS_AUTH = b"\x38" + SESSION + b"\xaa" * 20 + REPLAY + bytes(5)
TLS_CRYPT = b"\x38" + SESSION + REPLAY + b"\xbb" * 37
TLS_CRYPT_V2 = (
    b"\x50" + SESSION + b"\x0f\x00\x00\x01" + REPLAY[4:] + b"\xbb" * 37 + b"\xcc" * 290 + b"\x01\x24"
)
RESETS = [PLAIN, TLS_AUTH, TLS_CRYPT, TLS_CRYPT_V2]


def framed(packet: bytes) -> bytes:
    return len(packet).to_bytes(2, "big") + packet


@pytest.mark.parametrize("reset", RESETS, ids=["plain", "tls-auth", "tls-crypt", "tls-crypt-v2"])
def test_hard_reset_is_recognised_over_udp_and_tcp(reset: bytes) -> None:
    """Each of the four ways to begin is seen on its first packet, whatever the port and the transport."""
    for dissector, data in (
        (OpenvpnDatagramDissector(None), reset),
        (OpenvpnStreamDissector(None), framed(reset)),
    ):
        fields = feed(dissector, C, data)
        assert fields["openvpn.opcode"] == [reset[0] >> 3]
        assert fields["openvpn.keyid"] == [0]
        assert fields["openvpn.sessionid"] == [0x0102030405060708]


@pytest.mark.parametrize(
    "data",
    [
        b"\x38" + bytes(13),
        b"\x39" + PLAIN[1:],
        PLAIN + b"\x00",
        PLAIN[:-1] + b"\x01",
        b"\x48" + SESSION + bytes(30),
        TLS_CRYPT_V2[:-1],
        TLS_AUTH.replace(REPLAY, b"\xff" * 8),
    ],
    ids=["no session", "key 1", "longer", "packet 1", "data", "wrong length inside", "late packet"],
)
def test_what_is_nearly_a_reset_is_none(data: bytes) -> None:
    """Key, length, session and packet ID have to fit; a datagram that does not refutes OpenVPN for its flow."""
    assert not may_be_reset(data)
    dissector = OpenvpnDatagramDissector(None)
    assert not feed(dissector, C, data, PLAIN)
    assert dissector.alive == DEAD


@pytest.mark.parametrize(
    "data",
    [
        record(22, client_hello()),
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"\x00\x9c\x00\x01" + bytes(152),
        b"\x05\x01\x00",
    ],
    ids=["tls", "http", "ssh", "pptp", "socks"],
)
def test_other_streams_are_refuted_by_their_first_three_bytes(data: bytes) -> None:
    """Length and opcode tell OpenVPN over TCP from its neighbours on port 443 and elsewhere."""
    dissector = OpenvpnStreamDissector(None)
    assert not feed(dissector, C, *(data[at : at + 1] for at in range(3)))
    assert dissector.alive == DEAD


def test_stream_is_cut_into_packets() -> None:
    """Two packets over three segments, the second one of data, have their own fields."""
    dissector = OpenvpnStreamDissector(None)
    stream = framed(PLAIN) + framed(b"\x48\x00\x00\x07" + b"x" * 30)
    fields = feed(dissector, C, stream[:1], stream[1:9], stream[9:])
    assert fields["openvpn.plen"] == [14, 34]
    assert fields["openvpn.opcode"] == [7, 9]
    assert fields["openvpn.peerid"] == [7]
    assert len(fields["openvpn.sessionid"]) == 1


def test_only_wanted_fields_are_reported() -> None:
    """A rule on the opcode finds the opcode alone."""
    wanted = frozenset({"openvpn.opcode"})
    assert feed(OpenvpnDatagramDissector(wanted), C, PLAIN) == {"openvpn.opcode": [7]}


def test_unknown_opcode_of_a_known_connection_has_no_fields() -> None:
    """Once recognised the flow stays OpenVPN; a packet with an opcode that is none is passed over."""
    dissector = OpenvpnDatagramDissector(None)
    feed(dissector, C, PLAIN)
    assert not feed(dissector, S, b"\xff" * 20)
    assert feed(dissector, S, b"\x40" + SESSION)["openvpn.opcode"] == [8]
