"""BitTorrent: the handshake, and what is not one."""

from __future__ import annotations

import pytest

from middlebox.dissect.bittorrent import BittorrentDissector
from tests.unit.dissect_talk import DEAD, C, S, feed

HANDSHAKE = b"\x13BitTorrent protocol" + bytes(8) + b"h" * 20 + b"-TR4000-abcdefghijkl"


def test_handshake_over_segments_appears_with_the_last() -> None:
    """Hash and peer come together when all 68 bytes are there."""
    dissector = BittorrentDissector(None)
    assert not feed(dissector, C, HANDSHAKE[:1], HANDSHAKE[1:48])
    fields = feed(dissector, C, HANDSHAKE[48:] + b"more")
    assert fields["bittorrent.info_hash"] == [b"h" * 20]
    assert fields["bittorrent.peer_id"] == [b"-TR4000-abcdefghijkl"]
    assert feed(dissector, C, b"later") == {"bittorrent": [True]}


def test_rule_on_the_hash_lets_go_of_the_rest() -> None:
    """Nobody reads the download for a rule on the handshake."""
    dissector = BittorrentDissector(frozenset({"bittorrent.info_hash"}))
    feed(dissector, C, HANDSHAKE)
    feed(dissector, S, HANDSHAKE)
    assert dissector.alive == DEAD


@pytest.mark.parametrize("data", [b"\x13BitTorrent Protocol", b"\x16\x03", b"GET /"])
def test_other_first_bytes_refute_bittorrent(data: bytes) -> None:
    """The name of the protocol has to be there to the letter."""
    dissector = BittorrentDissector(None)
    assert not feed(dissector, C, data)
    assert dissector.alive == DEAD


def test_lost_bytes_within_the_handshake_leave_the_connection_bittorrent() -> None:
    """A handshake that was half lost has no values, but what follows still belongs to BitTorrent."""
    dissector = BittorrentDissector(None)
    feed(dissector, C, HANDSHAKE[:30])
    dissector.restart(C)
    assert feed(dissector, C, b"anything") == {"bittorrent": [True]}
