"""Mistakes that dissectors must survive: bits turned over, bytes lost, doubled, replaced, lengths made extreme.

A generator, not a test.
"""

from __future__ import annotations

from random import Random

EXTREMES = (
    b"\x00",
    b"\xff",
    b"\x00\x00",
    b"\xff\xff",
    b"\x00\xff",
    b"\x7f\xff",
    b"\xc0\x0c",
    b"\r\n",
    b"\n",
    b"\r\n\r\n",
)


def mutated(random: Random, data: bytes) -> bytes:
    """The same bytes with one to three mistakes."""
    spoilt = bytearray(data)
    for _ in range(random.randint(1, 3)):
        # Headers stand at the front, and that is where a mistake tells.
        at = random.randrange(min(len(spoilt), random.choice((16, 64, 2000))) or 1)
        what = random.random()
        if what < 0.4 and spoilt:
            spoilt[at] ^= 1 << random.randrange(8)
        elif what < 0.6:
            extreme = random.choice(EXTREMES)
            spoilt[at : at + len(extreme)] = extreme
        elif what < 0.75:
            del spoilt[at : at + random.randint(1, 40)]
        elif what < 0.9:
            spoilt[at:at] = spoilt[at : at + random.randint(1, 40)]
        else:
            del spoilt[at:]
    return bytes(spoilt)
