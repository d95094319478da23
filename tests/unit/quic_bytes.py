"""Builds QUIC Initial packets (RFC 9001 section 5), protected by a second, plain implementation, for tests."""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

V1, V2 = 1, 0x6B3343CF
# RFC 9001 section 5.2, RFC 9369 section 3.3.1
SALT = {
    V1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    V2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}
WORD = {V1: "quic", V2: "quicv2"}
INITIAL_BITS = {V1: 0, V2: 1}
CLIENT_ID = bytes.fromhex("8394c8f03e515708")  # of RFC 9001 appendix A


def varint(value: int) -> bytes:
    """In two bytes, or in four."""
    return (value | 0x4000).to_bytes(2, "big") if value < 0x4000 else (value | 0x80000000).to_bytes(4, "big")


def crypto(offset: int, data: bytes) -> bytes:
    """A CRYPTO frame."""
    return b"\x06" + varint(offset) + varint(len(data)) + data


def expand(secret: bytes, label: str, size: int) -> bytes:
    name = b"tls13 " + label.encode()
    info = size.to_bytes(2, "big") + bytes([len(name)]) + name + b"\x00\x01"
    return hmac.new(secret, info, hashlib.sha256).digest()[:size]


def initial(
    payload: bytes,
    *,
    keys_from: bytes = CLIENT_ID,
    dcid: bytes = CLIENT_ID,
    scid: bytes = b"",
    token: bytes = b"",
    version: int = V1,
    sender: str = "client",
    number: int = 0,
    number_bytes: int = 4,
) -> bytes:
    """One protected Initial packet. `keys_from`: the connection ID of the client's first Initial."""
    first = 0xC0 | INITIAL_BITS[version] << 4 | number_bytes - 1
    header = bytes([first]) + version.to_bytes(4, "big")
    header += bytes([len(dcid)]) + dcid + bytes([len(scid)]) + scid + bytes([len(token)]) + token
    header += varint(number_bytes + len(payload) + 16)
    number_at = len(header)
    written = (number & (1 << 8 * number_bytes) - 1).to_bytes(number_bytes, "big")
    header += written
    secret = expand(hmac.new(SALT[version], keys_from, hashlib.sha256).digest(), f"{sender} in", 32)
    key, iv, mask_key = (
        expand(secret, f"{WORD[version]} {what}", size)
        for what, size in (("key", 16), ("iv", 12), ("hp", 16))
    )
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    sealed = AESGCM(key).encrypt(nonce, payload, header)
    packet = bytearray(header + sealed)
    sample = bytes(packet[number_at + 4 : number_at + 20])
    mask = Cipher(AES(mask_key), ECB()).encryptor().update(sample)
    packet[0] ^= mask[0] & 0x0F
    for place in range(number_bytes):
        packet[number_at + place] ^= mask[1 + place]
    return bytes(packet)
