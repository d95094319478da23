"""Algorithm 1 of Wu23 written down as it reads, without any of our own code. Not a test.

Whole numbers only: no comparison can be off by a rounding.
"""

from __future__ import annotations

import re

_TLS = re.compile(rb"[\x16-\x17]\x03[\x00-\x09]")
_HTTP = re.compile(rb"GET |PUT |POST |HEAD ", re.IGNORECASE)


def exemptions(packet: bytes) -> set[str]:
    """Why a first packet is let go; nothing: it is blocked. packet: its payload, not empty."""
    found = set()
    bits = sum(bin(byte).count("1") for byte in packet)
    if 10 * bits <= 34 * len(packet):
        found.add("few-bits")
    if 10 * bits >= 46 * len(packet):
        found.add("many-bits")
    printable = [0x20 <= byte <= 0x7E for byte in packet]
    if len(packet) >= 6 and all(printable[:6]):
        found.add("six-printable")
    if 2 * sum(printable) > len(packet):
        found.add("half-printable")
    run = longest = 0
    for each in printable:
        run = run + 1 if each else 0
        longest = max(longest, run)
    if longest > 20:
        found.add("long-run")
    if _TLS.match(packet):
        found.add("like-tls")
    if _HTTP.match(packet):
        found.add("like-http")
    return found
