"""WireGuard: recognised by its handshake, on any port."""

from __future__ import annotations

import importlib.util

import pytest

from middlebox.dissect.wireguard import WireguardDissector
from tests.unit.dissect_talk import DEAD, C, S, feed

INITIATION = b"\x01\x00\x00\x00" + bytes.fromhex("78563412") + bytes(140)
RESPONSE = b"\x02\x00\x00\x00" + bytes.fromhex("01000000") + bytes.fromhex("78563412") + bytes(80)
TRANSPORT = b"\x04\x00\x00\x00" + bytes.fromhex("01000000") + bytes.fromhex("0700000000000000") + bytes(16)


def test_handshake_and_data_have_type_and_indices() -> None:
    """Indices and counter are little-endian numbers."""
    dissector = WireguardDissector(None)
    assert feed(dissector, C, INITIATION) == {"wg": [True], "wg.type": [1], "wg.sender": [0x12345678]}
    assert feed(dissector, S, RESPONSE)["wg.receiver"] == [0x12345678]
    assert feed(dissector, C, TRANSPORT) == {
        "wg": [True],
        "wg.type": [4],
        "wg.receiver": [1],
        "wg.counter": [7],
    }


@pytest.mark.skipif(
    importlib.util.find_spec("wireguard") is None,
    reason="no WireGuard for this kind of processor; make setup-servers installs it",
)
def test_handshake_of_another_implementation_is_read_as_it_says() -> None:
    """py-wg's indices are those that it chose, also in a cookie reply and in the messages that follow."""
    from wireguard import Handshake, Initiator, KeyPair, PrivateKey

    client, server = PrivateKey.generate(), PrivateKey.generate()
    asking, answering = Handshake(client, server.public_key), Handshake(server, client.public_key)
    dissector = WireguardDissector(None)
    request = asking.encode_handshake_req()
    assert feed(dissector, C, request) == {"wg": [True], "wg.type": [1], "wg.sender": [asking.src_ident]}
    answering.decode_handshake_req(request)
    cookie = answering.encode_cookie_reply(b"192.0.2.11")
    assert feed(dissector, S, cookie) == {"wg": [True], "wg.type": [3], "wg.receiver": [asking.src_ident]}
    response = answering.encode_handshake_res()
    assert feed(dissector, S, response) == {
        "wg": [True], "wg.type": [2], "wg.sender": [answering.src_ident], "wg.receiver": [asking.src_ident],
    }  # fmt: skip
    asking.decode_handshake_res(response)
    initiator = Initiator(client, server.public_key)
    asking.derive_keypair(keys := KeyPair())
    initiator.curr_keypair, initiator.state_connected = keys, True
    for counter in range(2):
        initiator.encode_transport(b"a datagram")
        assert feed(dissector, C, initiator.staged_outbound.popleft()) == {
            "wg": [True], "wg.type": [4], "wg.receiver": [answering.src_ident], "wg.counter": [counter],
        }  # fmt: skip


def test_data_without_a_handshake_is_not_reported_but_waited_for() -> None:
    """A box that was started later recognises the tunnel at its next handshake."""
    dissector = WireguardDissector(None)
    assert not feed(dissector, C, TRANSPORT)
    assert feed(dissector, C, INITIATION)["wg.type"] == [1]
    assert feed(dissector, C, TRANSPORT)["wg.type"] == [4]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        INITIATION[:-1],
        INITIATION + b"\0",
        b"\x01\x00\x00\x01" + INITIATION[4:],
        b"\x05" + INITIATION[1:],
        bytes(148),
    ],
)
def test_other_first_datagram_refutes_wireguard(data: bytes) -> None:
    """Type, zeros and length have to fit exactly."""
    dissector = WireguardDissector(None)
    assert not feed(dissector, C, data, INITIATION)
    assert dissector.alive == DEAD


def test_only_wanted_fields_are_reported() -> None:
    """A rule on the type finds the type alone."""
    assert feed(WireguardDissector(frozenset({"wg.type"})), C, INITIATION) == {"wg.type": [1]}
