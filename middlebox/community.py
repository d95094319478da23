"""Community ID version 1: one short name for a flow that tshark, Suricata and Zeek compute alike.

Source: https://github.com/corelight/community-id-spec; the `communityid` package is the oracle in the tests.
Written out here because it runs for every new flow of a running box.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha1

_WITH_PORTS = (6, 17)


def community_id(src: bytes, sport: int, dst: bytes, dport: int, protocol: int, *, seed: int = 0) -> str:
    """The Community ID of a TCP or UDP flow; the order of the two ends does not matter.

    src, dst: 4 or 16 bytes. Other protocols are named by addresses alone.
    """
    if (dst, dport) < (src, sport):
        src, sport, dst, dport = dst, dport, src, sport
    head = seed.to_bytes(2, "big") + src + dst + bytes((protocol, 0))
    if protocol in _WITH_PORTS:
        head += sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
    return "1:" + b64encode(sha1(head, usedforsecurity=False).digest()).decode()
