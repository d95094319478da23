"""Keys of QUIC Initial packets, and opening them (RFC 9001 section 5, RFC 9369 section 3.3).

Anybody on the path can do this: the keys follow from a connection ID that stands in the packet. The only file here that
needs a library (cryptography: AES-128-GCM and AES-ECB); imported when a rule wants QUIC, not before. Never raises.
"""

from __future__ import annotations

from functools import lru_cache
from hmac import digest
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from middlebox.dissect.quic_packet import VERSION_1, VERSION_2
from middlebox.flow import Direction

# RFC 9001 section 5.2 and RFC 9369 section 3.3.1
_SALTS = {
    VERSION_1: bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
    VERSION_2: bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
}
_LABELS = {VERSION_1: b"quic ", VERSION_2: b"quicv2 "}
_SAMPLE_BYTES = 16


class Opened(NamedTuple):
    """A packet without its protection."""

    packet_number: int
    payload: bytes


class Opener:
    """Opens the Initial packets of one end."""

    __slots__ = ("_aead", "_iv", "_mask")

    def __init__(self, secret: bytes, version: int) -> None:
        label = _LABELS[version]
        self._aead = AESGCM(_expand_label(secret, label + b"key", 16))
        self._iv = int.from_bytes(_expand_label(secret, label + b"iv", 12), "big")
        # One block of ECB is what RFC 9001 section 5.4.3 prescribes for header protection.
        self._mask = Cipher(AES(_expand_label(secret, label + b"hp", 16)), ECB()).encryptor()  # noqa: S305

    def open(self, data: bytes, start: int, number_at: int, end: int, largest: int) -> Opened | None:
        """The packet in `data[start:end]` whose packet number stands at `number_at`; None if these are not its keys.

        largest: the highest packet number of this end so far, -1 for none (RFC 9000 appendix A.3).
        """
        sample = data[number_at + 4 : number_at + 4 + _SAMPLE_BYTES]
        if number_at + 4 + _SAMPLE_BYTES > end:
            return None
        mask = self._mask.update(sample)
        first = data[start] ^ (mask[0] & 0x0F)
        size = (first & 3) + 1
        behind = number_at + size
        written = int.from_bytes(data[number_at:behind], "big") ^ int.from_bytes(mask[1 : 1 + size], "big")
        header = bytes((first,)) + data[start + 1 : number_at] + written.to_bytes(size, "big")
        number = _packet_number(written, size, largest)
        nonce = (self._iv ^ number).to_bytes(12, "big")
        try:
            payload = self._aead.decrypt(nonce, data[behind:end], header)
        except InvalidTag:
            return None
        return Opened(number, payload)


@lru_cache(maxsize=1024)
def opener(version: int, connection_id: bytes, direction: Direction) -> Opener:
    """What opens the Initials of this direction, if the client's first one was sent to this connection ID."""
    secret = digest(_SALTS[version], connection_id, "sha256")
    label = b"server in" if direction is Direction.SERVER_TO_CLIENT else b"client in"
    return Opener(_expand_label(secret, label, 32), version)


def _expand_label(secret: bytes, label: bytes, size: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1) with an empty context, for at most 32 bytes."""
    full = b"tls13 " + label
    info = size.to_bytes(2, "big") + bytes((len(full),)) + full + b"\x00"
    return digest(secret, info + b"\x01", "sha256")[:size]


def _packet_number(written: int, size: int, largest: int) -> int:
    """The whole number of which `size` bytes were written (RFC 9000 appendix A.3)."""
    expected = largest + 1
    window = 1 << size * 8
    candidate = (expected & -window) | written
    if candidate <= expected - window // 2 and candidate + window < 1 << 62:
        return candidate + window
    if candidate > expected + window // 2 and candidate >= window:
        return candidate - window
    return candidate
